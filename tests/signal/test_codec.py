"""Log-probabilities survive their coding, at the sizes and errors that are promised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potstill.signal.codec import decode_floats, decode_ids, decode_logprobs, encode


def topk_of(logits_NV: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    logprobs_NV = logits_NV - np.log(np.exp(logits_NV).sum(axis=1, keepdims=True))
    ids_NK = np.argsort(-logprobs_NV, axis=1)[:, :k]
    return ids_NK, np.take_along_axis(logprobs_NV, ids_NK, axis=1)


logits = arrays(np.float64, (5, 40), elements=st.floats(-12, 12, width=32))


@given(logits, st.integers(1, 39))
def test_decoded_probabilities_are_near_and_keep_the_mass(logits_NV: np.ndarray, k: int) -> None:
    ids_NK, logprobs_NK = topk_of(logits_NV, k)
    cells = encode(ids_NK, logprobs_NK, logprobs_NK[:, 0], 40)
    decoded_NK, log_tail_N = decode_logprobs(cells.topk_logprobs, cells.topk_mass, k)
    mass_N = np.exp(logprobs_NK).sum(axis=1)
    np.testing.assert_allclose(np.exp(decoded_NK).sum(axis=1), mass_N, atol=2e-3)
    np.testing.assert_allclose(np.exp(log_tail_N), 1 - mass_N, atol=2e-3)
    # Half a step either way, and the rescaling to the mass.
    near = logprobs_NK[:, :1] - logprobs_NK < 15
    assert (np.abs(decoded_NK - logprobs_NK)[near] < 0.08).all()
    np.testing.assert_array_equal(decode_ids(cells.topk_ids, 5, 40, k), ids_NK)


@pytest.mark.parametrize("vocab_size", [1000, 65_536, 151_936, 1 << 24])
def test_ids_of_every_vocabulary_come_back_and_a_prefix_can_be_read(vocab_size: int) -> None:
    rng = np.random.default_rng(0)
    ids_NK = rng.integers(0, vocab_size, (7, 16))
    logprobs_NK = -np.sort(rng.uniform(0, 5, (7, 16)))
    cells = encode(ids_NK, logprobs_NK - 3, logprobs_NK[:, 0], vocab_size)
    np.testing.assert_array_equal(decode_ids(cells.topk_ids, 7, vocab_size, 16), ids_NK)
    np.testing.assert_array_equal(decode_ids(cells.topk_ids, 7, vocab_size, 3), ids_NK[:, :3])
    assert len(cells.topk_ids) == 7 * 16 * (2 if vocab_size <= 65_536 else 3)


def test_a_certain_teacher_keeps_its_small_tail() -> None:
    tail = 1e-4
    logprobs_NK = np.log(np.array([[1 - 2 * tail, tail]]))
    cells = encode(np.array([[1, 2]]), logprobs_NK, logprobs_NK[:, 0], 10)
    _, log_tail_N = decode_logprobs(cells.topk_logprobs, cells.topk_mass, 2)
    np.testing.assert_allclose(np.exp(log_tail_N), tail, rtol=0.01)


def test_a_masked_token_does_not_poison_the_rest() -> None:
    logprobs_NK = np.array([[np.log(0.5), np.log(0.5), -np.inf]])
    cells = encode(np.array([[1, 2, 3]]), logprobs_NK, np.array([-np.inf]), 10)
    decoded_NK, _ = decode_logprobs(cells.topk_logprobs, cells.topk_mass, 3)
    assert np.isfinite(decoded_NK).all()
    np.testing.assert_allclose(np.exp(decoded_NK[0, :2]), 0.5, atol=1e-3)
    assert np.isfinite(decode_floats(cells.sampled_logprob)).all()


def test_ranks_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="must fall"):
        encode(np.array([[1, 2]]), np.array([[-3.0, -1.0]]), np.array([-1.0]), 10)
