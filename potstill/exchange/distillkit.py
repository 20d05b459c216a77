"""DistillKit's Parquet files: `input_ids` with either raw `token_ids` and `top_values`, or compressed cells.

Its row t is the distribution after token t, so the last row predicts nothing that is stored and is left out. Where
nothing says where a prompt ends, everything after the first token counts as response. A compressed token is, in this
order: the most likely log-probabilities as they are, the coefficients of a curve through the others, and bins of
quantised residuals; then ids as a stream of bits, most significant first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from potstill.errors import BadInput

from .store import Foreign

CONFIG = "compression_config.yaml"
Dtype = Literal["float16", "bfloat16", "float32", "float64"]


class Bin(BaseModel):
    """Residuals of some ranks in few bits."""

    model_config = ConfigDict(frozen=True)
    scale_dtype: Dtype
    element_bits: int
    num_elements: int


class Layout(BaseModel):
    """What DistillKit's configuration calls `logprob_compressor`."""

    model_config = ConfigDict(frozen=True)
    d: int
    k: int
    exact_k: int
    exact_dtype: Dtype = "float32"
    polynomial_terms: tuple[int | Literal["sqrt", "exp"], ...] = ()
    term_dtype: Dtype = "float32"
    residual_bins: tuple[Bin, ...] = ()
    delta_encoding: bool = True
    normalize_t: bool = False


def read_distillkit(source: Path, teacher: str) -> tuple[int, Iterator[Foreign]]:
    """The ranks per token and the rows of a folder or a file. Raises BadInput when it is not DistillKit's."""
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise BadInput(f"no Parquet files at {source}")
    columns = set(pq.read_schema(files[0]).names)
    if {"input_ids", "token_ids", "top_values"} <= columns:
        first = next(_rows(files[:1]), None)
        return (len(first[1]["top_values"][0]) if first else 0), (_raw(where, row) for where, row in _rows(files))
    if not {"input_ids", "compressed_logprobs", "bytepacked_indices"} <= columns:
        raise BadInput(f"{files[0]} has the columns {', '.join(sorted(columns))}, which are not DistillKit's")
    layout = _layout(files[0].parent / CONFIG)
    return layout.k, (_compressed(where, row, layout) for where, row in _rows(files))


def unpack(values_NB: Tensor, packed_NB: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Ids and log-probabilities [N, k] from the bytes of N tokens."""
    exact_NE, rest_NB = _take(values_NB, layout.exact_dtype, layout.exact_k)
    terms_NT, rest_NB = _take(rest_NB, layout.term_dtype, len(layout.polynomial_terms))
    fitted_NR = terms_NT.double() @ _curve(layout).T
    start = 0
    for bin in layout.residual_bins:
        scale_N1, rest_NB = _take(rest_NB, bin.scale_dtype, 1)
        size = -(-bin.num_elements * bin.element_bits // 8)
        codes_NR = _bits(rest_NB[:, :size], bin.num_elements, bin.element_bits)
        # One bit is a sign; more are a number around zero.
        steps_NR = codes_NR * 2 - 1 if bin.element_bits == 1 else codes_NR - 2 ** (bin.element_bits - 1)
        fitted_NR[:, start : start + bin.num_elements] += steps_NR * scale_N1.double()
        start, rest_NB = start + bin.num_elements, rest_NB[:, size:]
    logprobs_NK = torch.cat([exact_NE.double(), fitted_NR], dim=1)
    if layout.delta_encoding:
        logprobs_NK = logprobs_NK.cumsum(dim=1)
    return _bits(packed_NB, layout.k, (layout.d - 1).bit_length()), logprobs_NK


def _rows(files: list[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in files:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(16):
                for row in batch.to_pylist():
                    yield f"{path}, row {number}", row
                    number += 1


def _raw(where: str, row: dict[str, Any]) -> Foreign:
    ids, logprobs = row["token_ids"], row["top_values"]
    widths = {len(part) for part in (*ids, *logprobs)}
    if len(ids) != len(logprobs) or len(widths) != 1:
        raise BadInput(f"{where}: its tokens have different numbers of log-probabilities: {sorted(widths)[:5]}")
    return _foreign(where, row["input_ids"], np.array(ids, np.int64), np.array(logprobs, np.float64))


def _compressed(where: str, row: dict[str, Any], layout: Layout) -> Foreign:
    try:
        values, packed = (
            torch.tensor(row[n], dtype=torch.uint8) for n in ("compressed_logprobs", "bytepacked_indices")
        )
        ids_NK, logprobs_NK = unpack(values, packed, layout)
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        raise BadInput(f"{where}: its bytes are not of the layout in {CONFIG}: {error}") from None
    # The curve may rise again towards its end, and add up to more than all probability.
    logprobs_NK = logprobs_NK - logprobs_NK.logsumexp(dim=1, keepdim=True).clamp_min(0)
    return _foreign(where, row["input_ids"], ids_NK.numpy(), logprobs_NK.numpy())


def _foreign(where: str, tokens: list[int], ids_LK: Any, logprobs_LK: Any) -> Foreign:
    if not len(tokens) == len(ids_LK) > 1:
        raise BadInput(f"{where}: {len(tokens)} tokens and {len(ids_LK)} rows of log-probabilities")
    # Rows without any probability at the beginning are a prompt, as `export_distillkit` writes it.
    first = int(np.isfinite(logprobs_LK).any(axis=1).argmax())
    return Foreign(where, tokens[: first + 1], tokens[first + 1 :], ids_LK[first:-1], logprobs_LK[first:-1], [])


def _layout(path: Path) -> Layout:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Layout.model_validate(found.get("logprob_compressor", found))
    except FileNotFoundError:
        raise BadInput(f"compressed log-probabilities need their configuration: put it at {path}") from None
    except (yaml.YAMLError, ValidationError, AttributeError) as error:
        raise BadInput(f"{path} is not DistillKit's configuration of a compressor: {error}") from None


def _take(bytes_NB: Tensor, dtype: Dtype, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` numbers of each token, and the bytes after them."""
    kind: torch.dtype = getattr(torch, dtype)
    size = count * kind.itemsize
    if bytes_NB.shape[1] < size:
        raise ValueError(f"{bytes_NB.shape[1]} bytes are left, {size} are needed")
    return bytes_NB[:, :size].contiguous().view(kind), bytes_NB[:, size:]


def _bits(bytes_NB: Tensor, count: int, width: int) -> Tensor:
    """`count` numbers of `width` bits each, most significant bit first."""
    bits_NB = (bytes_NB[:, :, None] >> torch.arange(7, -1, -1, dtype=torch.uint8) & 1).flatten(1)
    bits_NCW = bits_NB[:, : count * width].reshape(len(bytes_NB), count, width)
    return (bits_NCW.long() << torch.arange(width - 1, -1, -1)).sum(dim=2)


def _curve(layout: Layout) -> Tensor:
    """The value of each term at the ranks that are not exact, [k - exact_k, terms]."""
    ranks = layout.k - layout.exact_k
    t_R = torch.arange(ranks, dtype=torch.float64)
    if layout.normalize_t:
        t_R = torch.linspace(0, 1, ranks, dtype=torch.float64)
    special = {"sqrt": t_R.sqrt(), "exp": t_R.exp()}
    columns = [special[term] if isinstance(term, str) else t_R**term for term in layout.polynomial_terms]
    return torch.stack(columns, dim=1) if columns else torch.zeros(ranks, 0, dtype=torch.float64)
