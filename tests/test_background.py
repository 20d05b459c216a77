"""Work in the background is done in order and to the end, and its errors come out."""

import threading
import time

import pytest

from potstill.background import Background


def test_items_are_worked_on_in_order_and_before_the_block_ends() -> None:
    done: list[int] = []
    with Background(lambda item: (time.sleep(0.001), done.append(item))[0], ahead=4) as later:
        for item in range(50):
            later.put(item)
    assert done == list(range(50))


def test_what_was_put_before_an_interruption_is_still_done() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), Background(done.append) as later:
        later.put(1)
        raise KeyboardInterrupt
    assert done == [1]


def test_an_error_comes_out_and_nobody_waits_for_ever() -> None:
    def fail(item: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Background(fail, ahead=2) as later:
        for item in range(100):
            later.put(item)
    with pytest.raises(OSError, match="disk full"), Background(fail) as later:
        later.put(1)


def test_a_caller_that_is_too_far_ahead_waits() -> None:
    gate, done = threading.Event(), []
    with Background(lambda item: (gate.wait(), done.append(item))[1], ahead=2) as later:
        later.put(0)
        opener = threading.Timer(0.2, gate.set)
        opener.start()
        started = time.monotonic()
        for item in range(1, 6):
            later.put(item)
        assert time.monotonic() - started > 0.1
    assert done == list(range(6))
