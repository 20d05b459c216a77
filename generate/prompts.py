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
    """One conversation that waits for an answer."""

    index: int
    messages: Messages
    split: Split


def read_prompts(prompts: Prompts, recipe_folder: Path) -> list[Prompt]:
    """All prompts of a recipe, in file order; exact repetitions are dropped.

    Relative files are looked up in `recipe_folder`. Raises BadInput naming file and line of the first bad record, or
    when nothing is left.
    """
    found: dict[str, Prompt] = {}
    for where, record in _records(prompts, recipe_folder):
        messages = _messages(record, prompts.column, where)
        if prompts.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": prompts.system}, *messages]
        key = content_hash(messages)
        if key not in found:
            found[key] = Prompt(len(found), messages, split_of(messages, prompts.held_out))
        if len(found) == prompts.limit:
            break
    if not found:
        raise BadInput(f"no prompts in {', '.join(prompts.files) or prompts.dataset}: the source is empty")
    return list(found.values())


def split_of(messages: Messages, held_out: float) -> Split:
    """Which split a conversation belongs to: its users' words decide, so that it never moves."""
    words = json.dumps([m["content"] for m in messages if m["role"] == "user"], ensure_ascii=False)
    number = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8])
    return "held_out" if number < held_out * 2**64 else "train"


def prompts_hash(prompts: list[Prompt]) -> str:
    """SHA-256 over all conversations and their order."""
    return content_hash([[prompt.messages, prompt.split] for prompt in prompts])


def _records(prompts: Prompts, recipe_folder: Path) -> Iterator[Record]:
    if prompts.dataset:
        yield from _from_hub(prompts.dataset, prompts.dataset_split)
    for name in prompts.files:
        path = recipe_folder / Path(name).expanduser()
        if not path.is_file():
            raise BadInput(f"no prompts file at {path} (`prompts.files`; relative paths start at the recipe's folder)")
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise BadInput(f"{path}: expected a file ending in {', '.join(READERS)}")
        yield from reader(path)


def _messages(record: Any, column: str | None, where: str) -> Messages:
    if not isinstance(record, dict):
        raise BadInput(f"{where}: expected an object with a `prompt` or `messages` key, found {_short(record)}")
    name = column or ("messages" if record.get("messages") else "prompt")
    if name not in record:
        have = ", ".join(map(str, record)) or "none"
        raise BadInput(f"{where}: no column {name!r}; its columns are: {have}. Name yours in `prompts.column`")
    value = record[name]
    if isinstance(value, str) and value.strip():
        return [{"role": "user", "content": value}]
    if isinstance(value, list) and value and all(_is_message(item) for item in value):
        messages = [{"role": item["role"], "content": item["content"]} for item in value]
        if messages[-1]["role"] != "user":
            raise BadInput(f"{where}: the last message of {name!r} must be the user's, so that the teacher can answer")
        return messages
    raise BadInput(
        f"{where}: {name!r} must be a text or a list of {{role, content}} with roles {'/'.join(ROLES)}, "
        f"found {_short(value)}"
    )


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


def _from_hub(dataset: str, split: str) -> Iterator[Record]:
    from datasets import load_dataset

    try:
        rows = load_dataset(dataset, split=split, streaming=True)
        for number, row in enumerate(rows, 1):
            yield f"{dataset} ({split}), row {number}", row
    except (OSError, ValueError, ConnectionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"cannot read the data set {dataset!r}, split {split!r}: {error}") from None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


READERS = {".jsonl": _from_jsonl, ".csv": _from_csv, ".parquet": _from_parquet}
