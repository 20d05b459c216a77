"""A tiny teacher and what it answered."""

import pytest
from foreign_data import K
from tiny_models import Tiny, answers, make_model, write_signal

from potstill.signal import Signal


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_model(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="module")
def signal(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Signal:
    return write_signal(tmp_path_factory.mktemp("signal"), tiny, answers(tiny, 20, K), K)
