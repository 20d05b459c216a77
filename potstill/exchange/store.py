"""Store what another program captured as a teacher-signal dataset."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill import models
from potstill.errors import BadInput
from potstill.models import ModelSource
from potstill.signal import Coding, Settings, SignalWriter, Split, TeacherInfo, content_hash, encode

ROWS_PER_SHARD = 128
TOO_MUCH = 1.01
"""Sums of probabilities above this are no rounding."""


@dataclass(frozen=True)
class Foreign:
    """One answer of another program's data set: N response tokens with K log-probabilities each."""

    where: str
    """File and row, for messages."""
    prompt_ids: list[int]
    response_ids: list[int]
    topk_ids_NK: NDArray[np.integer]
    topk_logprobs_NK: NDArray[np.floating]
    """Natural logarithms in any order; minus infinity fills up."""
    messages: list[dict[str, str]]
    """The conversation before the answer; empty where the source does not have it."""


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    rows: int
    tokens: int
    unknown: int
    """Tokens whose own log-probability the source does not tell, because they are outside their top k."""
    renormalised: int
    """Tokens whose ranks add up to all probability, so that nothing is known of the tail."""
    without_messages: int

    def text(self) -> str:
        """What the source could not give, in sentences."""
        said = [f"{self.rows:,} answers with {self.tokens:,} response tokens are imported."]
        if self.unknown:
            said.append(f"Of {self.unknown:,} tokens the log-probability is unknown: they are outside their top k.")
        if self.renormalised > self.tokens / 2:
            said.append("The ranks add up to all probability nearly everywhere: the source has scaled its tail away.")
        if self.without_messages:
            said.append(f"{self.without_messages:,} answers came as tokens alone, without their conversation.")
        return " ".join(said)


def store_foreign(
    rows: Iterable[Foreign], out: Path, teacher: str, top_k: int, held_out: float, origin: str
) -> Imported:
    """Write rows to `out`, one at a time in memory; `teacher` names the tokenizer that their ids belong to.

    Raises BadInput for rows that cannot be right, naming file and row.
    """
    source = ModelSource(teacher)
    tokenizer, config = models.load_tokenizer(source), models.load_config(source)
    coding, vocab_size = Coding(top_k=top_k), config.vocab_size
    writer = SignalWriter(out, _settings(source, tokenizer, config, coding, origin), ROWS_PER_SHARD)
    counts = {"rows": 0, "tokens": 0, "unknown": 0, "renormalised": 0, "without_messages": 0}
    for index, row in enumerate(rows):
        ids_NK, logprobs_NK = _ranked(row, top_k, vocab_size)
        at_NK = ids_NK == np.array(row.response_ids)[:, None]
        sampled_N = np.where(at_NK.any(axis=1), np.where(at_NK, logprobs_NK, 0).sum(axis=1), np.nan)
        counts["rows"] += 1
        counts["tokens"] += len(sampled_N)
        counts["unknown"] += int(np.isnan(sampled_N).sum())
        counts["renormalised"] += int((np.exp(logprobs_NK).sum(axis=1) > 1 - 1e-4).sum())
        counts["without_messages"] += not row.messages
        id = content_hash([row.prompt_ids, row.response_ids])[:32]
        if id in writer.done_ids:
            continue
        stored = {
            "id": id,
            "messages": row.messages,
            "prompt_ids": row.prompt_ids,
            "response_ids": row.response_ids,
            "response": tokenizer.decode(row.response_ids, skip_special_tokens=True),
            **encode(ids_NK, logprobs_NK, sampled_N, coding, vocab_size),
            "finish_reason": "imported",
            "prompt_index": index,
            "sample_index": 0,
        }
        writer.add(_split(row, held_out), stored)
    writer.finish()
    return Imported(**counts)


def _settings(source: ModelSource, tokenizer: Any, config: Any, coding: Coding, origin: str) -> Settings:
    identity = models.tokenizer_identity(tokenizer)
    teacher = TeacherInfo(
        model=source.model,
        licence=models.licence(source.model),
        dtype="unknown",
        tokenizer_hash=identity.tokenizer_hash,
        chat_template_hash=identity.chat_template_hash,
        vocab_size=config.vocab_size,
    )
    return Settings(
        mode="imported",
        teacher=teacher,
        sampling=None,
        coding=coding,
        seed=0,
        engine=f"imported from {origin}",
        prompts_hash="",
    )


def _ranked(row: Foreign, top_k: int, vocab_size: int) -> tuple[Any, Any]:
    """Ids and log-probabilities [N, top_k], most likely first."""
    ids_NK, logprobs_NK = np.asarray(row.topk_ids_NK), np.asarray(row.topk_logprobs_NK, np.float64)
    if len(ids_NK) != len(row.response_ids) or ids_NK.shape != logprobs_NK.shape or ids_NK.shape[1] < top_k:
        raise BadInput(f"{row.where}: {len(row.response_ids)} tokens have log-probabilities of shape {ids_NK.shape}")
    highest = max(ids_NK.max(initial=0), *row.prompt_ids, *row.response_ids)
    if highest >= vocab_size or ids_NK.min(initial=0) < 0:
        raise BadInput(f"{row.where}: token {highest:,} is not in the vocabulary of {vocab_size:,}; another --teacher?")
    if np.isnan(logprobs_NK).any() or (np.exp(logprobs_NK).sum(axis=1) > TOO_MUCH).any():
        raise BadInput(f"{row.where}: its numbers are no log-probabilities: they add up to more than all probability")
    order_NK = np.argsort(-logprobs_NK, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(ids_NK, order_NK, axis=1), np.take_along_axis(logprobs_NK, order_NK, axis=1)


def _split(row: Foreign, held_out: float) -> Split:
    """A hash of the prompt decides, or of the whole where there is no prompt to speak of."""
    words = row.prompt_ids if len(row.prompt_ids) > 1 else row.prompt_ids + row.response_ids
    number = int.from_bytes(hashlib.sha256(str(words).encode()).digest()[:8])
    return "held_out" if number < held_out * 2**64 else "train"
