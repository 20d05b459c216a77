"""`results.json`: everything an evaluation found. Report, model card and terminal table are made from it alone."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from potstill.errors import BadInput

SCHEMA_VERSION = 2

ArmName = Literal["teacher", "student_before", "student_after"]
ARMS: tuple[ArmName, ...] = ("teacher", "student_before", "student_after")
Section = Literal["benchmark", "fidelity", "bias", "toxicity", "safety", "robustness", "calibration", "cost"]
Better = Literal["higher", "lower", "neither"]
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class Record(BaseModel):
    """What is written as JSON."""

    # JSON knows no NaN: an undefined score is written as a word that reads back.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="strings")


class Score(Record):
    """One number with what it rests on."""

    value: float
    n: int | None = None
    """Items it was measured on; None where that makes no sense (bytes on disk)."""
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""


class Turned(Record):
    """Items on which student after and teacher disagree, where an item is right or wrong."""

    lost: int
    """Right for the teacher, wrong for the student."""
    gained: int
    """Wrong for the teacher, right for the student."""
    p: float
    """McNemar's mid-p value of both being equally likely."""


class Measure(Record):
    """One metric of one task, for every arm that has it."""

    section: Section
    name: str
    """Task or quantity, for instance `probe_grammar` or `held_out`."""
    metric: str
    """For instance `acc`, `kl`, `perplexity`."""
    group: str = ""
    """The part of the items it is about, for instance a category of BBQ; empty for all."""
    unit: str = ""
    better: Better
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
    growth: Score | None = None
    """Where there is a target: how much farther from it the student after is than the teacher; above 0 is
    amplified."""
    retention: Score | None = None
    """Student after as a share of the teacher; above chance where guessing scores something."""
    turned: Turned | None = None
    """Items that turned, where every item is right or wrong."""


class GateResult(Record):
    """What became of one gate of the recipe."""

    measure: str
    metric: str
    group: str = ""
    """The part of the items it is about; empty for all."""
    margin: float
    change: Score | None
    verdict: Verdict
    reason: str
    """One sentence for a person."""
    p_fail: float | None = None
    """One-sided p-value of the loss lying beyond the margin, corrected for the number of gates;
    at most 0.025 is FAIL."""


class WorstGroup(Record):
    """The group of items on which the student after lost most against the teacher."""

    measure: str
    metric: str
    group: str
    groups: int
    """How many there are."""
    change: Score
    """Its change against the teacher; the interval is corrected for having looked at all groups."""


class ItemChange(Record):
    """An item on which the student's outcome differs from the teacher's."""

    measure: str
    item: str
    prompt: str
    expected: str = ""
    answers: dict[ArmName, str]
    lost: bool
    """Right to wrong; else wrong to right."""


class SafetyRegression(Record):
    """A harmful prompt that the teacher refused and the student after did not."""

    measure: str
    prompt: str
    answers: dict[ArmName, str]
    outcomes: dict[ArmName, str]
    """`refused`, `complied` or `incoherent`."""


class ReliabilityBin(Record):
    """Predictions of about equal confidence."""

    confidence: float
    """Mean."""
    accuracy: float
    n: int


class Reliability(Record):
    """How often a model is right when it is so sure, on one measure."""

    measure: str
    arm: ArmName
    bins: tuple[ReliabilityBin, ...]


class Similarity(Record):
    """Linear CKA between all layers of the teacher (rows) and of a student (columns); 1 is the same representation."""

    arm: ArmName
    tokens: int
    cka: tuple[tuple[float, ...], ...]


class TokenExample(Record):
    """A place in a teacher's answer where the student after predicts something else."""

    context: str
    """The text before it."""
    written: str
    """The token that the teacher wrote."""
    teacher: tuple[tuple[str, float], ...]
    """The teacher's likeliest tokens and their probabilities."""
    student: tuple[tuple[str, float], ...]
    kl: float
    """Nats."""


class Overlap(Record):
    """Items of one evaluation set that training prompts or answers share text with."""

    measure: str
    items: int
    exact: int
    """Items whose whole text was trained on."""
    touched: int
    """Items that share an n-gram or the whole text."""
    metric: str = ""
    all_items: dict[ArmName, Score] = {}
    clean_items: dict[ArmName, Score] = {}
    """The same score without the touched items; empty where none is touched or none is left."""


class Arm(Record):
    """One model that was measured."""

    name: ArmName
    label: str
    """For instance `SmolLM2-135M-Instruct`, `15 of 30 layers, before distillation`."""
    model: str
    """Folder or hub id."""
    parameters: int
    bytes_on_disk: int | None
    """None of a model behind a server."""
    weights_fingerprint: str
    """Empty of a model behind a server."""


class Sample(Record):
    """One answer of every arm to the same prompt."""

    prompt: str
    answers: dict[ArmName, str]
    toxicity: dict[ArmName, float] = {}
    kl: float | None = None
    """Mean KL of the student after on the teacher's own answer, nats per token."""


class CurvePoint(Record):
    """One line of the training log."""

    step: int
    tokens: int
    loss: float
    kl: float | None = None
    ce: float | None = None
    tokens_per_second: float | None = None


class Results(Record):
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
    worst_groups: tuple[WorstGroup, ...] = ()
    samples: tuple[Sample, ...] = ()
    item_changes: tuple[ItemChange, ...] = ()
    """The largest first, right to wrong before wrong to right."""
    safety_regressions: tuple[SafetyRegression, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    similarity: tuple[Similarity, ...] = ()
    token_examples: tuple[TokenExample, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
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
    """Read a `results.json`. Raises BadInput for a file that is none, or of another version of potstill."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"cannot read {path}: {error}; expected a results.json that `potstill eval` wrote") from error
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(version, int) or "measures" not in found:
        raise BadInput(f"{path} holds no evaluation; expected a results.json that `potstill eval` wrote")
    if version != SCHEMA_VERSION:
        age = "an older" if version < SCHEMA_VERSION else "a newer"
        raise BadInput(
            f"{path} was made by {age} potstill (schema {version}, this one reads {SCHEMA_VERSION}): "
            "run `potstill eval` again"
        )
    try:
        return Results.model_validate(found, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(
            f"{path} is damaged: {where}: {first['msg']} ({error.error_count()} problems); run `potstill eval` again"
        ) from error
