"""Time is arithmetic over a probed speed: the arithmetic, checked against a run that was timed."""

from dataclasses import replace
from typing import Any

import pytest

from potstill.plan import speed
from potstill.plan.sizes import ModelSize
from potstill.plan.workload import Workload
from potstill.recipe import Recipe

TEACHER = ModelSize(
    parameters=134_515_008,
    head=28_311_552,
    tied=True,
    blocks=106_168_320,
    active=106_168_320,
    adapters=0,
    in_4_bits=0,
    layers=30,
    hidden=576,
    intermediate=1536,
    query=576,
    key_value=192,
    vocabulary=49152,
    weight_bytes=2.0,
)
STUDENT = replace(TEACHER, parameters=81_413_568, blocks=53_084_160, active=53_084_160, layers=15)
QUICKSTART = Workload(
    prompts=640,
    train_answers=582,
    held_out_answers=58,
    prompt_tokens=52.4,
    longest_prompt=151,
    response_tokens=(35_140, 35_140),
    longest_response=64,
    stored_bytes=5_200_000,
)


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "has_cuda", lambda: False)


def recipe(**train: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "quickstart",
            "prompts": {"files": ["p"]},
            "student": {"prune": {"layers": 15}},
            "train": {"epochs": 1, "per_device_train_batch_size": 4, **train},
        }
    )


def test_the_timed_quickstart_lies_within_its_estimate() -> None:
    """187 s of training and 94 s of generating, where products ran at 380 and 280 GFLOP/s."""
    least, most = speed.training_seconds(STUDENT, recipe(), QUICKSTART, 380e9)
    assert least < 187 < most < 2 * least
    least, most = speed.generating_seconds(TEACHER, recipe(), QUICKSTART, 280e9)
    assert least < 94 < most < 2 * least


def test_only_response_tokens_go_through_the_output_layer() -> None:
    prompts = speed.training_work(STUDENT, 1000, 0)
    assert prompts == 6 * STUDENT.active * 1000
    assert speed.training_work(STUDENT, 1000, 10) - prompts == 6 * STUDENT.head * 10
    assert speed.generating_work(TEACHER, 0, 10) == 20 * TEACHER.parameters - 20 * (
        TEACHER.parameters - TEACHER.active - TEACHER.head
    )


def test_frozen_weights_need_no_gradient() -> None:
    adapted = replace(STUDENT, adapters=1_000_000)
    assert speed.training_work(adapted, 1000, 100) == pytest.approx(speed.training_work(STUDENT, 1000, 100) * 4 / 6)


def work_seconds(**train: Any) -> float:
    return speed.training_seconds(STUDENT, recipe(**train), QUICKSTART, 1e11)[1] - speed.START_SECONDS


def test_time_follows_epochs_steps_and_checkpointing() -> None:
    once = work_seconds()
    assert work_seconds(epochs=3) == pytest.approx(3 * once)
    assert work_seconds(max_steps=291) == pytest.approx(2 * once)
    assert work_seconds(gradient_checkpointing=True) == pytest.approx(once * 4 / 3)


def test_shared_prompts_are_read_once_and_scored_answers_are_all_read() -> None:
    many = replace(QUICKSTART, train_answers=4 * 582, held_out_answers=4 * 58)
    one, four = (speed.generating_seconds(TEACHER, recipe(), work, 1e11) for work in (QUICKSTART, many))
    assert one == four
    scored = recipe().model_copy(update={"generate": recipe().generate.model_copy(update={"mode": "score"})})
    assert speed.generating_seconds(TEACHER, scored, many, 1e11) > four


def test_the_probe_counts_the_operations_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that says one second a pass, the speed is the operations of a pass."""
    clock = iter(range(1000))
    monkeypatch.setattr("potstill.plan.speed.time.perf_counter", lambda: float(next(clock)))
    assert speed.probe_training(replace(STUDENT, hidden=8, intermediate=16), 32, bfloat16=True) == 2 * 32 * 8 * 16
