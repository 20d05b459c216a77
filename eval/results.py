"""`results.json`: everything an evaluation found. Report, model card and terminal table are made from it alone."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

ArmName = Literal["teacher", "student_before", "student_after"]
ARMS: tuple[ArmName, ...] = ("teacher", "student_before", "student_after")
Section = Literal["fidelity", "benchmark", "bias", "toxicity", "cost"]
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Score(_Model):
    """One number with what it rests on."""

    value: float
    n: int | None = None
    """Items it was measured on; None where that makes no sense (bytes on disk)."""
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""


class Measure(_Model):
    """One metric of one task, for every arm that has it."""

    section: Section
    name: str
    """Task or quantity, for instance `probe_grammar` or `held_out`."""
    metric: str
    """For instance `acc`, `kl`, `perplexity`."""
    unit: str = ""
    better: Literal["higher", "lower", "neither"]
    """`neither` where no direction is better, as for a preference that should lie at `target`."""
    target: float | None = None
    """The ideal value where there is one (0.5 for a preference between stereotype and anti-stereotype)."""
    chance: float | None = None
    """What guessing scores."""
    probe: bool = False
    """A small set made for potstill, not a published benchmark."""
    description: str = ""
    arms: dict[ArmName, Score]
    change: Score | None = None
    """Student after minus teacher, paired over items."""
    gain: Score | None = None
    """Student after minus student before, paired over items."""


class GateResult(_Model):
    """What became of one gate of the recipe."""

    measure: str
    metric: str
    margin: float
    change: Score | None
    verdict: Verdict
    reason: str
    """One sentence for a person."""


class Arm(_Model):
    """One model that was measured."""

    name: ArmName
    label: str
    """For instance `SmolLM2-135M-Instruct`, `15 of 30 layers, before distillation`."""
    model: str
    """Folder or hub id."""
    parameters: int
    bytes_on_disk: int
    weights_fingerprint: str


class Sample(_Model):
    """One answer of every arm to the same prompt."""

    prompt: str
    answers: dict[ArmName, str]
    toxicity: dict[ArmName, float] = {}
    kl: float | None = None
    """Mean KL of the student after on the teacher's own answer, nats per token."""


class CurvePoint(_Model):
    """One line of the training log."""

    step: int
    tokens: int
    loss: float
    kl: float | None = None
    ce: float | None = None
    tokens_per_second: float | None = None


class Results(_Model):
    """An evaluation."""

    schema_version: int = SCHEMA_VERSION
    name: str
    created: str
    """ISO 8601, UTC."""
    command: str
    """What reproduces this."""
    arms: tuple[Arm, ...]
    measures: tuple[Measure, ...]
    gates: tuple[GateResult, ...] = ()
    samples: tuple[Sample, ...] = ()
    training: tuple[CurvePoint, ...] = ()
    scorers: tuple[dict[str, str], ...] = ()
    """A card for every scorer: name, version, licence, kind, caution."""
    provenance: dict[str, Any] = {}
    """Versions, hardware, seeds, fingerprints, licences, the resolved recipe."""
    signal: dict[str, Any] = {}
    """Rows, tokens, top_k, mean mass in the top k, bytes per token of the stored answers."""
    not_measured: tuple[str, ...] = ()
    """What a reader might expect to find here, and why it is not."""

    @property
    def verdict(self) -> Verdict | None:
        """The worst gate; None without gates."""
        found = {gate.verdict for gate in self.gates}
        return next((v for v in ("FAIL", "INCONCLUSIVE", "PASS") if v in found), None)


def read_results(path: Path) -> Results:
    """Read a `results.json`."""
    return Results.model_validate_json(path.read_text(encoding="utf-8"))
