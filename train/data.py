"""Rows of a teacher-signal dataset as training batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from potstill.errors import BadInput
from potstill.recipe import Kd
from potstill.signal import Signal

IGNORED = -100
WINDOW = 50
"""Batches within which answers are sorted by length."""


@dataclass(frozen=True)
class TrainingRows:
    """The answers that are trained on."""

    dataset: Any
    lengths: NDArray[np.int64]
    """Prompt and answer in tokens, as far as they are used."""
    response_tokens: int
    left_out: int
    """Answers whose prompts leave no room for a response token."""


def training_rows(signal: Signal, max_length: int) -> TrainingRows:
    """The train split without what does not fit. Raises BadInput when nothing fits."""
    dataset = signal.dataset("train")
    columns = dataset.select_columns(["prompt_ids", "response_ids"]).with_format("arrow")[:]
    prompt, response = (
        pc.list_value_length(columns[name]).to_numpy().astype(np.int64) for name in ("prompt_ids", "response_ids")
    )
    used = np.minimum(response, max_length - prompt)
    # Without a prompt token nothing predicts the first token of the answer.
    fits = (used > 0) & (prompt > 0)
    if not fits.any():
        raise BadInput(
            f"no answer is left to train on: `train.max_length` is {max_length}, the shortest prompt has "
            f"{prompt.min()} tokens. Raise it."
        )
    return TrainingRows(
        dataset=dataset if fits.all() else dataset.select(np.flatnonzero(fits)),
        lengths=(prompt + used)[fits],
        response_tokens=int(used[fits].sum()),
        left_out=int((~fits).sum()),
    )


def require_signal(signal: Signal, kd: Kd) -> None:
    """Raise BadInput when the stored answers do not hold what the soft targets of a recipe need."""
    coding = signal.info.settings.coding
    if kd.weight > 0 and coding.top_k == 0:
        raise BadInput(
            f"{signal.folder} holds answers without log-probabilities, which cannot be distilled from: set "
            "`train.kd.weight` to 0 to train on the answers alone"
        )
    reverse = kd.divergence == "reverse_kl" or (kd.divergence == "jsd" and kd.beta == 1)
    if kd.weight > 0 and coding.draws is not None and reverse:
        raise BadInput(
            f"{signal.folder} holds counts of random draws: tokens that were not drawn have no probability there, and "
            "the reverse KL to them is infinite. Choose another `train.kd.divergence`, such as skewed_reverse_kl."
        )


class SignalCollator:
    """Makes a batch of R rows, padded right to L tokens, whose labels name N response tokens.

    Keys: `input_ids` and `labels` [R, L]; `topk_ids` and `topk_logprobs` [N, K] and `log_tail` [N] for the
    response tokens in the order of the labels. Rows longer than `max_length` lose the end of their answer.
    """

    def __init__(self, signal: Signal, max_length: int, top_k: int | None):
        stored = signal.info.settings.top_k
        if top_k is not None and top_k > stored:
            raise BadInput(f"`train.kd.top_k` is {top_k}, but {signal.folder} holds {stored} log-probabilities a token")
        self.signal, self.max_length, self.top_k = signal, max_length, top_k

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collate the rows of a batch."""
        prompts = [len(row["prompt_ids"]) for row in rows]
        responses = [len(row["response_ids"]) for row in rows]
        used = [min(r, self.max_length - p) for p, r in zip(prompts, responses, strict=True)]
        input_ids = np.zeros((len(rows), max(p + n for p, n in zip(prompts, used, strict=True))), np.int64)
        labels = np.full_like(input_ids, IGNORED)
        for index, (row, prompt, kept) in enumerate(zip(rows, prompts, used, strict=True)):
            input_ids[index, :prompt] = row["prompt_ids"]
            input_ids[index, prompt : prompt + kept] = row["response_ids"][:kept]
            labels[index, prompt : prompt + kept] = input_ids[index, prompt : prompt + kept]
        teacher = self.signal.decode(rows, self.top_k)
        starts = np.cumsum([0, *responses[:-1]])
        kept_N = np.concatenate([np.arange(start, start + kept) for start, kept in zip(starts, used, strict=True)])
        return {
            "input_ids": torch.from_numpy(input_ids),
            "labels": torch.from_numpy(labels),
            "topk_ids": torch.from_numpy(teacher.topk_ids_NK[kept_N]).long(),
            "topk_logprobs": torch.from_numpy(teacher.topk_logprobs_NK[kept_N]),
            "log_tail": torch.from_numpy(teacher.log_tail_N[kept_N]),
        }


class LengthSortedSampler(Sampler[int]):
    """Random order in which every batch holds answers of similar length.

    The order follows from seed and epoch alone, so that an interrupted run goes on where it was.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        full = len(order) // self.batch_size * self.batch_size
        window = WINDOW * self.batch_size
        for start in range(0, full, window):
            part = order[start : min(start + window, full)]
            part[:] = part[np.argsort(self.lengths[part], kind="stable")]
        batches = order[:full].reshape(-1, self.batch_size)
        rng.shuffle(batches)
        yield from order.tolist()
