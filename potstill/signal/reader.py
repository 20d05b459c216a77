"""Read a teacher-signal dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import BadInput

from .codec import decode_floats, decode_ids, decode_logprobs
from .info import SignalInfo, Split, read_info
from .writer import verify_shards

if TYPE_CHECKING:
    from datasets import Dataset

    from potstill.models import TokenizerIdentity


@dataclass(frozen=True)
class TeacherSignal:
    """The teacher's distribution at every response token of some answers, one after the other: N tokens, K ranks."""

    topk_ids_NK: NDArray[np.int64]
    topk_logprobs_NK: NDArray[np.float32]
    """Raw log-probabilities in nats, most likely first."""
    log_tail_N: NDArray[np.float32]
    """Logarithm of the probability outside the K ranks."""
    sampled_logprob_N: NDArray[np.float32]
    """Log-probability of the token that was produced."""


@dataclass(frozen=True)
class Signal:
    """An opened dataset: where it is and what it says about itself."""

    folder: Path
    info: SignalInfo

    def dataset(self, split: Split) -> "Dataset":
        """The rows of a split, memory-mapped. Raises BadInput when the split is empty."""
        from datasets import load_dataset

        files = [str(self.folder / shard.file) for shard in self.info.shards if shard.split == split]
        if not files:
            raise BadInput(f"{self.folder} has no answers in its {split} split: give more prompts")
        return load_dataset("parquet", data_files={split: files}, split=split)

    def decode(self, rows: Sequence[Mapping[str, Any]], top_k: int | None = None) -> TeacherSignal:
        """Decode the cells of some rows, keeping the first `top_k` ranks (None: all that are stored)."""
        settings = self.info.settings
        keep = min(top_k or settings.top_k, settings.top_k)
        parts = [_decode_row(row, settings.top_k, keep, settings.teacher.vocab_size) for row in rows]
        return TeacherSignal(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def require_tokenizer(self, identity: "TokenizerIdentity", who: str) -> None:
        """Raise BadInput unless a student's tokenizer gives the stored ids the meaning they had for the teacher."""
        teacher = self.info.settings.teacher
        if identity.tokenizer_hash != teacher.tokenizer_hash:
            raise BadInput(
                f"{who} has another tokenizer than the teacher {teacher.model}: its token ids mean other text, so "
                "stored log-probabilities cannot be used. Choose a student of the same family, or cut one out of "
                "the teacher (`student.prune`)."
            )
        if identity.chat_template_hash != teacher.chat_template_hash:
            raise BadInput(
                f"{who} has another chat template than the teacher {teacher.model}: it would be trained on prompts "
                "in a form that it never sees in use. Give it the teacher's template, or generate again."
            )


def open_signal(folder: Path | str) -> Signal:
    """Open a dataset, checking its schema version and the checksum of every shard.

    Raises BadInput when there is no dataset or a newer one, CorruptData when it is damaged.
    """
    folder = Path(folder)
    info = read_info(folder)
    verify_shards(folder, info.shards)
    return Signal(folder, info)


def _decode_row(
    row: Mapping[str, Any], stored_k: int, keep: int, vocab_size: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    logprobs_NK, log_tail_N = decode_logprobs(row["topk_logprobs"], row["topk_mass"], stored_k)
    if keep < stored_k:
        kept_N = np.exp(logprobs_NK[:, :keep], dtype=np.float64).sum(axis=1)
        log_tail_N = np.log1p(-np.minimum(kept_N, 1 - 1e-9)).astype(np.float32)
    ids_NK = decode_ids(row["topk_ids"], len(log_tail_N), vocab_size, keep)
    return ids_NK, logprobs_NK[:, :keep], log_tail_N, decode_floats(row["sampled_logprob"])
