"""axolotl's JSONL for distillation: `messages`, and log-probabilities that end where the conversation ends.

Version 1 has per position a list of {"token": "token_id:42", "logprob": -0.5}; version 2 has lists of numbers in
`logprobs` and their ids in `target_token_ids`. The row of a position predicts the token at that position.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from potstill import models
from potstill.errors import BadInput
from potstill.models import ModelSource

from .store import Foreign

PREFIX = "token_id:"


def read_axolotl(source: Path, teacher: str) -> tuple[int, Iterator[Foreign]]:
    """The ranks that every token has, and the rows. Raises BadInput when the file is not axolotl's."""
    if not source.is_file():
        raise BadInput(f"no file at {source}")
    counts = [len(ranks) for _, record in _records(source) for ranks in _positions(record) if ranks]
    if not counts:
        raise BadInput(f"{source} has no log-probabilities in `logprobs`")
    tokenizer = models.load_tokenizer(ModelSource(teacher))
    top_k = min(counts)
    return top_k, (_foreign(where, record, tokenizer, top_k) for where, record in _records(source))


def _records(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with source.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{source}, line {number}"
            try:
                record = json.loads(line)
            except ValueError as error:
                raise BadInput(f"{where}: not JSON: {error}") from None
            if not isinstance(record, dict) or not {"messages", "logprobs"} <= record.keys():
                raise BadInput(f"{where}: expected the keys `messages` and `logprobs`")
            yield where, record


def _positions(record: dict[str, Any]) -> list[Any]:
    return record["logprobs"] if isinstance(record["logprobs"], list) else []


def _foreign(where: str, record: dict[str, Any], tokenizer: Any, top_k: int) -> Foreign:
    messages = record["messages"]
    try:
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(messages, return_dict=False)
        ids_NK, logprobs_NK = _numbers(record, top_k)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadInput(f"{where}: cannot be read: {error}") from None
    response = whole[len(prompt) :]
    if messages[-1]["role"] != "assistant" or whole[: len(prompt)] != prompt or not response:
        raise BadInput(f"{where}: does not end with an answer that the chat template puts after its prompt")
    if len(ids_NK) < len(response):
        raise BadInput(
            f"{where}: log-probabilities of {len(ids_NK)} tokens for an answer of {len(response)}; another --teacher?"
        )
    first = len(ids_NK) - len(response)
    return Foreign(where, prompt, response, ids_NK[first:], logprobs_NK[first:], messages[:-1])


def _numbers(record: dict[str, Any], top_k: int) -> tuple[Any, Any]:
    """Ids and log-probabilities [positions, top_k] of the positions that have any."""
    given = [(i, ranks[:top_k]) for i, ranks in enumerate(_positions(record)) if ranks]
    if "target_token_ids" in record:
        ids = [record["target_token_ids"][i][:top_k] for i, _ in given]
        logprobs = [ranks for _, ranks in given]
    else:
        ids = [[int(entry["token"].removeprefix(PREFIX)) for entry in ranks] for _, ranks in given]
        logprobs = [[entry["logprob"] for entry in ranks] for _, ranks in given]
    return np.array(ids, np.int64).reshape(len(ids), -1), np.array(logprobs, np.float64).reshape(len(ids), -1)
