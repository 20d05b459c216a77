from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_teacher import TOP_K, Row, Teacher, write_signal

from potstill.errors import BadInput
from potstill.signal import Signal
from potstill.train.data import IGNORED, LengthSortedSampler, SignalCollator, training_rows


def test_labels_and_teacher_rows_speak_of_the_same_tokens(signal: Signal) -> None:
    stored = list(signal.dataset("train"))[:5]
    batch = SignalCollator(signal, 128, None)(stored)
    labels = batch["labels"][batch["labels"] != IGNORED]
    assert labels.tolist() == [token for row in stored for token in row["response_ids"]]
    assert batch["topk_ids"].shape == batch["topk_logprobs"].shape == (len(labels), TOP_K)
    # Where a produced token is among the top k, its log-probability there is the one stored for it.
    at, rank = torch.nonzero(batch["topk_ids"] == labels[:, None], as_tuple=True)
    sampled = torch.from_numpy(signal.decode(stored).sampled_logprob_N)
    assert len(at) > 0.5 * len(labels)
    torch.testing.assert_close(batch["topk_logprobs"][at, rank], sampled[at], atol=0.05, rtol=0)


def test_a_batch_is_padded_on_the_right_and_only_answers_are_labelled(signal: Signal) -> None:
    stored = list(signal.dataset("train"))[:5]
    batch = SignalCollator(signal, 128, None)(stored)
    for row, ids, labels in zip(stored, batch["input_ids"], batch["labels"], strict=True):
        prompt, text = len(row["prompt_ids"]), row["prompt_ids"] + row["response_ids"]
        assert ids[: len(text)].tolist() == text
        assert (labels[:prompt] == IGNORED).all()
        assert (labels[len(text) :] == IGNORED).all()


def test_long_answers_lose_their_end_and_the_teachers_rows_with_it(signal: Signal) -> None:
    stored = list(signal.dataset("train"))[:6]
    room = [max(1, len(row["response_ids"]) // 2) for row in stored]
    limit = max(len(row["prompt_ids"]) for row in stored) + 3
    room = [min(len(row["response_ids"]), limit - len(row["prompt_ids"])) for row in stored]
    assert any(kept < len(row["response_ids"]) for kept, row in zip(room, stored, strict=True))
    batch = SignalCollator(signal, limit, None)(stored)
    assert batch["input_ids"].shape[1] <= limit
    start = end = 0
    for kept, row in zip(room, stored, strict=True):
        alone = SignalCollator(signal, 128, None)([row])
        start, end = end, end + kept
        for key in ("topk_ids", "topk_logprobs", "log_tail"):
            assert torch.equal(batch[key][start:end], alone[key][:kept])
    assert end == len(batch["log_tail"])


def test_prompts_that_leave_no_room_are_left_out_and_counted(signal: Signal) -> None:
    prompts = [len(row["prompt_ids"]) for row in signal.dataset("train")]
    limit = int(np.median(prompts))
    kept = training_rows(signal, limit)
    assert kept.left_out == sum(prompt >= limit for prompt in prompts)
    assert len(kept.dataset) == len(kept.lengths) == len(prompts) - kept.left_out
    assert kept.lengths.max() <= limit
    batch = SignalCollator(signal, limit, None)(list(kept.dataset))
    assert len(batch["log_tail"]) == kept.response_tokens
    with pytest.raises(BadInput, match="max_length"):
        training_rows(signal, min(prompts))


def test_fewer_ranks_than_stored_move_the_rest_into_the_tail(signal: Signal) -> None:
    stored = list(signal.dataset("train"))[:5]
    whole, part = (SignalCollator(signal, 128, top_k)(stored) for top_k in (None, 5))
    assert torch.equal(part["topk_ids"], whole["topk_ids"][:, :5])
    moved = whole["topk_logprobs"][:, 5:].exp().sum(1)
    torch.testing.assert_close(part["log_tail"].exp(), whole["log_tail"].exp() + moved, atol=1e-6, rtol=1e-4)
    with pytest.raises(BadInput, match=rf"holds {TOP_K}"):
        SignalCollator(signal, 128, TOP_K + 1)


def test_a_signal_without_training_answers_is_refused(teacher: Teacher, rows: list[Row], tmp_path: Path) -> None:
    only_held_out = write_signal(tmp_path, teacher, rows[:2], held_out_every=1)
    with pytest.raises(BadInput, match="train split"):
        training_rows(only_held_out, 128)


def test_an_epoch_is_a_shuffle_that_follows_from_seed_and_epoch() -> None:
    lengths = np.random.default_rng(0).integers(5, 500, 1003)
    sampler = LengthSortedSampler(lengths, 8, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == sorted(second) == list(range(1003))
    assert first != second
    resumed = LengthSortedSampler(lengths, 8, seed=3)
    resumed.set_epoch(1)
    assert list(resumed) == second


def test_batches_hold_answers_of_similar_length_in_random_order() -> None:
    lengths = np.random.default_rng(0).lognormal(4, 0.7, 2000).astype(np.int64)
    batches = lengths[list(LengthSortedSampler(lengths, 8, seed=0))].reshape(-1, 8)
    assert 1 - lengths.sum() / (8 * batches.max(axis=1).sum()) < 0.08
    unsorted = lengths.reshape(-1, 8).max(axis=1)
    assert 1 - lengths.sum() / (8 * unsorted.sum()) > 0.3
    maxima = batches.max(axis=1)
    assert abs(np.corrcoef(maxima[:-1], maxima[1:])[0, 1]) < 0.2
