"""Rows of a teacher-signal dataset as training batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.errors import BadInput
from potstill.recipe_train import Kd, Train
from potstill.signal import Signal

IGNORED = -100


@dataclass(frozen=True)
class TrainingRows:
    """The answers that are trained on."""

    dataset: Any
    lengths: NDArray[np.int64]
    """Prompt and answer in tokens, as far as they are used."""
    response_tokens: int
    left_out: int
    """Answers whose prompts leave no room for a response token."""
    validation: Any | None = None
    """Answers that are not trained on, because they choose the best checkpoint."""


def training_rows(signal: Signal, train: Train, seed: int = 0) -> TrainingRows:
    """The train split without what does not fit or serves validation. Raises BadInput when nothing is left."""
    dataset = signal.dataset("train")
    prompt, used = _lengths(dataset, train.max_length)
    fits = used > 0
    if not fits.any():
        raise BadInput(
            f"no answer is left to train on: `train.max_length` is {train.max_length}, the shortest prompt has "
            f"{prompt.min()} tokens. Raise it."
        )
    validates = np.zeros_like(fits)
    if train.validation is not None:
        prompt_index = dataset.select_columns(["prompt_index"]).with_format("arrow")[:]["prompt_index"].to_numpy()
        validates = fits & _chosen(prompt_index, train.validation.answers, seed)
    trains = fits & ~validates
    if not trains.any():
        raise BadInput(f"no answer is left to train on: `train.validation.answers` takes all {fits.sum():,}. Lower it.")
    return TrainingRows(
        dataset=dataset if trains.all() else dataset.select(np.flatnonzero(trains)),
        lengths=(prompt + used)[trains],
        response_tokens=int(used[trains].sum()),
        left_out=int((~fits).sum()),
        validation=dataset.select(np.flatnonzero(validates)) if validates.any() else None,
    )


def held_out_rows(signal: Signal, max_length: int, answers: int) -> Any | None:
    """The first held-out answers that a student with so little room can be measured on; None without any."""
    if not signal.info.rows("held_out"):
        return None
    dataset = signal.dataset("held_out")
    fits = np.flatnonzero(_lengths(dataset, max_length)[1] > 0)[:answers]
    return dataset.select(fits) if len(fits) else None


def _lengths(dataset: Any, max_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of each prompt, and those of each answer that can be used."""
    columns = dataset.select_columns(["prompt_ids", "response_ids"]).with_format("arrow")[:]
    prompt, response = (
        pc.list_value_length(columns[name]).to_numpy().astype(np.int64) for name in ("prompt_ids", "response_ids")
    )
    # Without a prompt token nothing predicts the first token of the answer.
    return prompt, np.where(prompt > 0, np.minimum(response, max_length - prompt), 0)


def _chosen(prompt_index: NDArray[np.int64], answers: int, seed: int) -> NDArray[np.bool_]:
    """All answers of randomly chosen prompts, until there are at least so many."""
    prompts, counts = np.unique(prompt_index, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(prompts))
    needed = int(np.searchsorted(counts[order].cumsum(), answers)) + 1
    return np.isin(prompt_index, prompts[order[:needed]])


def require_signal(signal: Signal, kd: Kd) -> None:
    """Raise BadInput when the stored answers do not hold what the soft targets of a recipe need."""
    coding = signal.info.settings.coding
    if kd.weight > 0 and coding.top_k == 0:
        raise BadInput(
            f"{signal.folder} holds answers without log-probabilities, which cannot be distilled from: set "
            "`train.kd.weight` to 0 to train on the answers alone"
        )
    infinite = next((found.divergence for found in kd.divergences if found.infinite_without_teacher), None)
    if kd.weight > 0 and coding.draws is not None and infinite:
        raise BadInput(
            f"{signal.folder} holds counts of random draws: tokens that were not drawn have no probability there, and "
            f"{infinite} is infinite for them. Choose another `train.kd.divergence`, such as skewed_reverse_kl."
        )
    sampling = signal.info.settings.sampling
    if (
        kd.weight > 0
        and kd.tail == "sampled"
        and (sampling is None or sampling.temperature != 1 or sampling.top_p != 1)
    ):
        raise BadInput(
            f"`train.kd.tail: sampled` takes the answers for draws from the teacher at temperature 1 and top_p 1, and "
            f"those in {signal.folder} were not drawn so. Use `bucket`."
        )


class SignalCollator:
    """Makes a batch of R rows, padded right to L tokens, whose labels name N response tokens.

    Keys: `input_ids` and `labels` [R, L]; `topk_ids` and `topk_logprobs` [N, K], `log_tail` and `token_logprobs` [N]
    for the response tokens in the order of the labels. Rows longer than `max_length` lose the end of their answer.
    Packed, the rows stand one after the other in a single one, and `position_ids` [1, L] begin anew in each.
    """

    def __init__(self, signal: Signal, max_length: int, top_k: int | None, packing: bool = False):
        stored = signal.info.settings.top_k
        if top_k is not None and top_k > stored:
            raise BadInput(f"`train.kd.top_k` is {top_k}, but {signal.folder} holds {stored} log-probabilities a token")
        self.signal, self.max_length, self.top_k, self.packing = signal, max_length, top_k, packing

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collate the rows of a batch."""
        prompts = [len(row["prompt_ids"]) for row in rows]
        responses = [len(row["response_ids"]) for row in rows]
        used = [min(r, self.max_length - p) for p, r in zip(prompts, responses, strict=True)]
        lengths = np.add(prompts, used)
        texts = {name: np.full((len(rows), lengths.max()), fill, np.int64) for name, fill in _FILL.items()}
        for index, (row, prompt, kept) in enumerate(zip(rows, prompts, used, strict=True)):
            texts["input_ids"][index, :prompt] = row["prompt_ids"]
            for ids in texts.values():
                ids[index, prompt : prompt + kept] = row["response_ids"][:kept]
        if self.packing:
            texts = _packed(texts, lengths)
        teacher = self.signal.decode(rows, self.top_k)
        starts = np.cumsum([0, *responses[:-1]])
        kept_N = np.concatenate([np.arange(start, start + kept) for start, kept in zip(starts, used, strict=True)])
        return {
            **{name: torch.from_numpy(ids) for name, ids in texts.items()},
            "topk_ids": torch.from_numpy(teacher.topk_ids_NK[kept_N]).long(),
            "topk_logprobs": torch.from_numpy(teacher.topk_logprobs_NK[kept_N]),
            "log_tail": torch.from_numpy(teacher.log_tail_N[kept_N]),
            "token_logprobs": torch.from_numpy(teacher.sampled_logprob_N[kept_N]),
        }


_FILL = {"input_ids": 0, "labels": IGNORED}


def _packed(texts: dict[str, NDArray[np.int64]], lengths: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Rows one after the other without their padding, and where each token stands in its own."""
    positions = np.broadcast_to(np.arange(lengths.max()), texts["labels"].shape)
    there = positions < lengths[:, None]
    return {name: ids[there][None] for name, ids in {**texts, "position_ids": positions}.items()}
