"""How a teacher's top-k log-probabilities become bytes and come back.

Rank order makes log-probabilities fall, so each rank is stored as its distance from rank 1 in steps of 1/16 nat, as
uint8 differences between neighbouring ranks. The probability mass inside the top k is stored apart, as a logit in
float16: the k decoded probabilities are scaled to it, so that both a dominant rank 1 and a small tail survive the
rounding. Cells are rank-major ([k, tokens]), little-endian, and compressed by Parquet.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CODEC = "delta8"
STEPS_PER_NAT = 16
# A float16 logit holds more, but raw float32 log-probabilities say nothing about a tail below about e**-16.
MAX_LOGIT = 16.0

Ids = NDArray[np.integer]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Cells:
    """The four binary cells of one answer."""

    topk_ids: bytes
    topk_logprobs: bytes
    topk_mass: bytes
    sampled_logprob: bytes


def encode(topk_ids_NK: Ids, topk_logprobs_NK: Floats, sampled_logprob_N: Floats, vocab_size: int) -> Cells:
    """Encode one answer of N tokens.

    `topk_ids_NK` and `topk_logprobs_NK` are [N, K] in rank order, most likely first, raw natural logarithms;
    `sampled_logprob_N` belongs to the tokens that were produced. Raises ValueError when ranks are out of order.
    """
    ids_KN = np.ascontiguousarray(topk_ids_NK.T)
    logprobs_KN = topk_logprobs_NK.T.astype(np.float64)
    if (np.diff(logprobs_KN, axis=0) > 1e-6).any():
        raise ValueError("top-k log-probabilities must fall from rank to rank")
    distance_KN = np.rint((logprobs_KN[0] - logprobs_KN) * STEPS_PER_NAT)
    step_KN = np.minimum(np.diff(distance_KN, axis=0), 255).astype(np.uint8)
    mass_N = np.clip(np.exp(logprobs_KN).sum(axis=0), 1e-7, 1 - 1e-9)
    logit_N = np.clip(np.log(mass_N) - np.log1p(-mass_N), -MAX_LOGIT, MAX_LOGIT)
    return Cells(
        topk_ids=_ids_to_bytes(ids_KN, vocab_size),
        topk_logprobs=step_KN.tobytes(),
        topk_mass=logit_N.astype("<f2").tobytes(),
        sampled_logprob=np.maximum(sampled_logprob_N, -60000).astype("<f2").tobytes(),
    )


def decode_ids(cell: bytes, tokens: int, vocab_size: int, top_k: int) -> NDArray[np.int64]:
    """The first `top_k` ids of each position, as [tokens, top_k]; only that prefix of the cell is read."""
    low_KN = np.frombuffer(cell, "<u2", count=top_k * tokens).reshape(top_k, tokens)
    if vocab_size <= 1 << 16:
        return low_KN.T.astype(np.int64)
    stored = len(cell) // 3
    high_KN = np.frombuffer(cell, np.uint8, count=top_k * tokens, offset=2 * stored).reshape(top_k, tokens)
    return (low_KN.astype(np.int64) | (high_KN.astype(np.int64) << 16)).T


def decode_logprobs(logprobs: bytes, mass: bytes, stored_k: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log-probabilities [tokens, stored_k] and the logarithm of the mass outside them [tokens], in nats."""
    logit_N = np.frombuffer(mass, "<f2").astype(np.float32)
    tokens = len(logit_N)
    step_KN = np.frombuffer(logprobs, np.uint8).reshape(stored_k - 1, tokens)
    relative_KN = np.zeros((stored_k, tokens), np.float32)
    np.cumsum(step_KN, axis=0, dtype=np.float32, out=relative_KN[1:])
    relative_KN *= -1.0 / STEPS_PER_NAT
    log_mass_N = -np.logaddexp(np.float32(0), -logit_N)
    log_tail_N = -np.logaddexp(np.float32(0), logit_N)
    relative_KN += log_mass_N - np.log(np.exp(relative_KN).sum(axis=0))
    return relative_KN.T, log_tail_N


def decode_floats(cell: bytes) -> NDArray[np.float32]:
    """One float per token."""
    return np.frombuffer(cell, "<f2").astype(np.float32)


def _ids_to_bytes(ids_KN: Ids, vocab_size: int) -> bytes:
    if vocab_size <= 1 << 16:
        return ids_KN.astype("<u2").tobytes()
    if vocab_size > 1 << 24:
        raise ValueError(f"vocabularies of more than {1 << 24:,} tokens cannot be stored, found {vocab_size:,}")
    low, high = (ids_KN & 0xFFFF).astype("<u2"), (ids_KN >> 16).astype(np.uint8)
    return low.tobytes() + high.tobytes()
