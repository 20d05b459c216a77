"""Read prompts: JSONL, CSV and Parquet files, or a data set on the hub."""

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import BadInput
from potstill.recipe import Prompts
from potstill.signal import Split, content_hash

Messages = list[dict[str, str]]
Record = tuple[str, Any]  # where it stands, for messages to the user; the mapping that was read

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Prompt:
    """One conversation that waits for an answer, or for scores of the answer that it brings along."""

    index: int
    messages: Messages
    split: Split
    response: str | None = None
    """The answer to score; None where the teacher is to write one."""


def read_prompts(prompts: Prompts, recipe_folder: Path, scored: bool = False) -> list[Prompt]:
    """All prompts of a recipe, in file order; exact repetitions are dropped.

    Relative files are looked up in `recipe_folder`. `scored` prompts end with an answer. Raises BadInput naming file
    and line of the first bad record, or when nothing is left.
    """
    found: dict[str, Prompt] = {}
    for where, record in _records(prompts, recipe_folder):
        messages = _messages(record, prompts, scored, where)
        if prompts.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": prompts.system}, *messages]
        # All places of a conversation fall into one split, else a held-out answer would be read in training.
        split = split_of(messages, prompts.held_out)
        for place in _places(messages, prompts.turns, scored, where):
            response = messages[place]["content"] if scored else None
            key = content_hash([messages[:place], response])
            if key not in found:
                found[key] = Prompt(len(found), messages[:place], split, response)
        if prompts.limit and len(found) >= prompts.limit:
            break
    if not found:
        raise BadInput(f"no prompts in {', '.join(prompts.files) or prompts.dataset}: the source is empty")
    return list(found.values())[: prompts.limit]


def split_of(messages: Messages, held_out: float) -> Split:
    """Which split a conversation belongs to: its users' words decide, so that it never moves."""
    words = json.dumps([m["content"] for m in messages if m["role"] == "user"], ensure_ascii=False)
    number = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8])
    return "held_out" if number < held_out * 2**64 else "train"


def prompts_hash(prompts: list[Prompt]) -> str:
    """SHA-256 over all conversations and their order."""
    return content_hash([[prompt.messages, prompt.split, prompt.response] for prompt in prompts])


def _records(prompts: Prompts, recipe_folder: Path) -> Iterator[Record]:
    if prompts.dataset:
        yield from _from_hub(prompts.dataset, prompts.dataset_config, prompts.dataset_split)
    for name in prompts.files:
        path = recipe_folder / Path(name).expanduser()
        if not path.is_file():
            raise BadInput(f"no prompts file at {path} (`prompts.files`; relative paths start at the recipe's folder)")
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise BadInput(f"{path}: expected a file ending in {', '.join(READERS)}")
        yield from reader(path)


def _messages(record: Any, prompts: Prompts, scored: bool, where: str) -> Messages:
    """The whole conversation of a record, with the answer in a column of its own at its end."""
    if not isinstance(record, dict):
        raise BadInput(f"{where}: expected an object with a `prompt` or `messages` key, found {_short(record)}")
    name = prompts.column or ("messages" if record.get("messages") else "prompt")
    value = _column(record, name, "prompts.column", where)
    if isinstance(value, str) and value.strip():
        messages = [{"role": "user", "content": value}]
    elif isinstance(value, list) and value and all(_is_message(item) for item in value):
        messages = [{"role": item["role"], "content": item["content"]} for item in value]
    else:
        raise BadInput(
            f"{where}: {name!r} must be a text or a list of {{role, content}} with roles {'/'.join(ROLES)}, "
            f"found {_short(value)}"
        )
    if scored and messages[-1]["role"] != "assistant":
        response = _column(record, prompts.response_column, "prompts.response_column", where)
        if not (isinstance(response, str) and response.strip()):
            raise BadInput(f"{where}: {prompts.response_column!r} must be the answer's text, found {_short(response)}")
        messages.append({"role": "assistant", "content": response})
    return messages


def _column(record: dict[str, Any], name: str, setting: str, where: str) -> Any:
    if name not in record:
        have = ", ".join(map(str, record)) or "none"
        raise BadInput(f"{where}: no column {name!r}; its columns are: {have}. Name yours in `{setting}`")
    return record[name]


def _places(messages: Messages, turns: str, scored: bool, where: str) -> list[int]:
    """Where in a conversation the teacher answers, or where the answers stand that it scores."""
    ends = len(messages) - 1 if scored else len(messages)
    speaks = [
        i
        for i in range(1, ends + 1)
        if messages[i - 1]["role"] == "user" and (i == len(messages) or messages[i]["role"] == "assistant")
    ]
    if turns == "last":
        speaks = [i for i in speaks if i == ends]
    if not speaks:
        raise BadInput(
            f"{where}: the last message must be the user's, so that the teacher can answer"
            if not scored
            else f"{where}: an answer must follow a message of the user's, so that the teacher can score it"
        )
    return speaks


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and item.get("role") in ROLES and isinstance(item.get("content"), str)


def _from_jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield f"{path}, line {number}", json.loads(line)
            except ValueError as error:
                raise BadInput(f"{path}, line {number}: not JSON: {error}") from None


def _from_csv(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                yield f"{path}, line {reader.line_num}", {k: v for k, v in row.items() if k is not None}
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"{path}, line {reader.line_num + 1}: not readable as CSV in UTF-8: {error}") from None


def _from_parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(path).iter_batches(1024):
            for row in batch.to_pylist():
                yield str(path), row
    except pa.ArrowException as error:
        raise BadInput(f"{path}: not readable as Parquet: {error}") from None


def _from_hub(dataset: str, config: str | None, split: str) -> Iterator[Record]:
    from datasets import load_dataset

    try:
        rows = load_dataset(dataset, config, split=split, streaming=True)
        for number, row in enumerate(rows, 1):
            yield f"{dataset} ({split}), row {number}", row
    except (OSError, ValueError, ConnectionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"cannot read the data set {dataset!r}, split {split!r}: {error} "
            "(`prompts.dataset`, `dataset_config`, `dataset_split`)"
        ) from None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


READERS = {".jsonl": _from_jsonl, ".csv": _from_csv, ".parquet": _from_parquet}
