"""DistillKit's compressed layout and axolotl's rows, from their documentation: peers of the codec benchmark.

Neither can be installed from a package index. DistillKit stores per token the most likely log-probabilities exactly,
the coefficients of a curve fitted to the others, and bit-packed ids; axolotl stores strings and numbers as JSON.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """One of the configurations in DistillKit's README; values in bfloat16, coefficients in float32."""

    top_k: int
    exact: int
    terms: tuple[int | str, ...]


RECOMMENDED = Layout(128, 16, (0, 1, 2, 3, 4, "sqrt"))
BUDGET = Layout(50, 1, (0, 1, "sqrt"))


def pack(ids_NK: Any, logprobs_NK: Any, layout: Layout, vocab_size: int) -> tuple[Any, Any]:
    """Bytes of the values and of the ids, both uint8 [N, ...]."""
    logprobs_NK = torch.from_numpy(logprobs_NK[:, : layout.top_k].astype(np.float32))
    exact_NE = logprobs_NK[:, : layout.exact].to(torch.bfloat16)
    rest_NR = logprobs_NK[:, layout.exact :].double()
    inverse_TR = torch.linalg.pinv(_curve(layout), atol=1e-5, rtol=0)
    terms_NT = (rest_NR @ inverse_TR.T).float()
    values = torch.cat([exact_NE.contiguous().view(torch.uint8), terms_NT.contiguous().view(torch.uint8)], dim=1)
    bits = _bits(vocab_size)
    ids_NK = ids_NK[:, : layout.top_k].astype(np.int64)
    bits_NKB = (ids_NK[:, :, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)
    return values.numpy(), np.packbits(bits_NKB.reshape(len(ids_NK), -1), axis=1)


def unpack(values: Tensor, packed_ids: Tensor, layout: Layout, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Ids and log-probabilities [N, K] from the bytes, as tensors, without Python per token."""
    exact_NE = values[:, : 2 * layout.exact].contiguous().view(torch.bfloat16)
    terms_NT = values[:, 2 * layout.exact :].contiguous().view(torch.float32)
    rest_NR = (terms_NT.double() @ _curve(layout).T).to(torch.bfloat16)
    bits = _bits(vocab_size)
    bits_NB = (packed_ids[:, :, None] >> torch.arange(7, -1, -1, dtype=torch.uint8) & 1).flatten(1)
    bits_NKB = bits_NB[:, : layout.top_k * bits].reshape(len(packed_ids), layout.top_k, bits)
    ids_NK = (bits_NKB.long() << torch.arange(bits - 1, -1, -1)).sum(dim=2)
    return ids_NK, torch.cat([exact_NE, rest_NR], dim=1)


def axolotl_rows(ids_NK: Any, logprobs_NK: Any) -> list[list[dict[str, Any]]]:
    """Per token a list of {token, logprob}, the form of its first data sets."""
    return [
        [
            {"token": f"token_id:{token}", "logprob": float(logprob)}
            for token, logprob in zip(ids, logprobs, strict=True)
        ]
        for ids, logprobs in zip(ids_NK, logprobs_NK, strict=True)
    ]


def axolotl_transform(rows: list[list[dict[str, Any]]]) -> tuple[list[list[int]], list[list[float]]]:
    """What is made of them before training: sorted ids and renormalised log-probabilities, token by token."""
    ids, logprobs = [], []
    for row in rows:
        pairs = sorted(((int(e["token"].split(":")[1]), e["logprob"]) for e in row), key=lambda p: p[1], reverse=True)
        values = torch.tensor([logprob for _, logprob in pairs], dtype=torch.float32)
        ids.append([token for token, _ in pairs])
        logprobs.append((values - values.logsumexp(dim=-1)).tolist())
    return ids, logprobs


def _curve(layout: Layout) -> Tensor:
    """The terms at every rank that is not exact, [K - exact, terms]."""
    rank_R = torch.arange(layout.top_k - layout.exact, dtype=torch.float64)
    return torch.stack([rank_R.sqrt() if term == "sqrt" else rank_R**term for term in layout.terms], dim=1)


def _bits(vocab_size: int) -> int:
    return (vocab_size - 1).bit_length()
