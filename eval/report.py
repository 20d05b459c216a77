"""The pages made from results: report.html, report.md and the model card. Pure functions of `Results`.

Whatever a page prints goes through a template environment's `finalize`, so that no answer of a model, file
name or setting can bring terminal codes, reordering marks, tags or Markdown with it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from potstill.errors import BadInput
from potstill.files import write_text

from . import charts, verdict_table
from .results import ARMS, Arm, ArmName, Measure, Results, Score, Section
from .verdict_table import one_line, visible

TEMPLATES = Path(__file__).parent / "templates"
MOST_SAMPLES = 20
SECTION_TITLES: dict[Section, str] = {
    "benchmark": "Quality",
    "fidelity": "Fidelity",
    "bias": "Bias",
    "toxicity": "Toxicity",
    "cost": "Cost",
}
_RECIPE_KEYS = {"benchmark": "benchmarks", "fidelity": "fidelity", "bias": "bias", "toxicity": "toxicity"}
# Where GitHub's Markdown reads a character as markup; an underscore inside a word is none.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True)
class ReportPaths:
    """Where the pages are."""

    html: Path
    markdown: Path
    model_card: Path | None


def write_report(results: Results, folder: Path, student: Path | None) -> ReportPaths:
    """Write report.html and report.md into `folder`, and the model card beside the weights of `student`."""
    if student is not None and not student.is_dir():
        raise BadInput(
            f"no student at {student}: the model card goes into the folder of a student's weights. "
            "Train the student first, or leave the student out to write only the report."
        )
    folder.mkdir(parents=True, exist_ok=True)
    card = None if student is None else student / "README.md"
    paths = ReportPaths(folder / "report.html", folder / "report.md", card)
    write_text(paths.html, html_report(results))
    write_text(paths.markdown, markdown_report(results))
    if card is not None:
        write_text(card, model_card(results))
    return paths


def html_report(results: Results) -> str:
    """One self-contained page: no script, nothing loaded from elsewhere."""
    environment = _environment(autoescape=True)
    environment.finalize = lambda value: value if isinstance(value, Markup) else visible(str(value))
    environment.globals["css"] = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("report.html.j2").render(results=results)


def markdown_report(results: Results) -> str:
    """The same content as GitHub-flavoured Markdown."""
    return _markdown("report.md.j2", results)


def model_card(results: Results) -> str:
    """A Hugging Face model card: front matter with every score of the student, then text."""
    front = yaml.safe_dump(front_matter(results), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{_markdown('model_card.md.j2', results)}"


def _markdown(template: str, results: Results) -> str:
    environment = _environment(autoescape=False)
    environment.finalize = lambda value: value if isinstance(value, Markup) else markdown_text(str(value))
    return environment.get_template(template).render(results=results)


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown = (
        counts,
        excerpt,
        facts,
        fenced,
        recipe_yaml,
        score_text,
        section_measures,
        smaller,
        times,
        why_empty,
    )
    environment.globals |= {function.__name__: function for function in shown}
    environment.globals |= {
        "words": verdict_table,
        "charts": charts,
        "ARMS": ARMS,
        "MOST_SAMPLES": MOST_SAMPLES,
    }
    environment.globals |= {"arm_titles": verdict_table.ARM_TITLES, "section_titles": SECTION_TITLES}
    return environment


def front_matter(results: Results) -> dict[str, Any]:
    """The model card's metadata, with the keys that the Hugging Face hub knows."""
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    front["tags"] = ["distillation", "potstill"]
    if (base := base_model(results)) is not None:
        front["base_model"] = base
    licence = _section(results.provenance, "teacher").get("licence")
    if isinstance(licence, str) and licence.strip():
        known = _LICENCE_ID.fullmatch(licence.strip().lower())
        front |= {"license": known[0]} if known else {"license": "other", "license_name": one_line(licence)}
    if scores := _scored_tasks(results):
        front["model-index"] = [{"name": one_line(results.name), "results": scores}]
    return front


def _scored_tasks(results: Results) -> list[dict[str, Any]]:
    tasks: dict[str, list[dict[str, Any]]] = {}
    for measure in results.measures:
        score = measure.arms.get("student_after")
        if score is not None and math.isfinite(score.value):
            metric = {"type": one_line(measure.metric), "value": score.value}
            tasks.setdefault(one_line(measure.name), []).append(metric)
    task = {"type": "text-generation"}
    return [
        {"task": dict(task), "dataset": {"type": name, "name": name}, "metrics": metrics}
        for name, metrics in tasks.items()
    ]


def base_model(results: Results) -> str | None:
    """The hub id of what the student started from, else of the teacher; None if both are local."""
    starts = [arm.model for arm in results.arms if arm.name == "student_before"]
    teacher = [arm.model for arm in results.arms if arm.name == "teacher"]
    found = [*starts, _section(results.provenance, "teacher").get("model"), *teacher]
    return next((m for m in found if isinstance(m, str) and _HUB_ID.fullmatch(m) and not Path(m).exists()), None)


def markdown_text(text: str) -> str:
    """Text on one line that Markdown shows as it is: no markup, no HTML, no table cell of its own."""
    line = one_line(text, 4_000)
    escaped = _MARKDOWN.sub(lambda match: "\\" + match[0], line.replace("&", "&amp;"))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")


def fenced(text: str, language: str = "text") -> Markup:
    """A Markdown code block around any text: its fence is longer than every run of backticks inside."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text}\n{fence}")


def excerpt(text: str, limit: int = 1_200, most_lines: int = 40) -> str:
    """The beginning of an answer, everything in it made visible; says how much is missing."""
    shown = visible(text[:limit])
    lines = shown.split("\n")
    kept = "\n".join(lines[:most_lines])
    if len(text) <= limit and len(lines) <= most_lines:
        return kept or "(an empty answer)"
    note = f"{len(text):,} characters in all" if len(text) > limit else f"{len(lines) - most_lines:,} more lines"
    return f"{kept} [… cut here: {note}]"


def section_measures(results: Results, section: Section) -> tuple[Measure, ...]:
    """The measures of a section; those of cost begin with the parameters and bytes of the arms."""
    found = tuple(measure for measure in results.measures if measure.section == section)
    return (*_sizes(results.arms, {m.unit for m in found}), *found) if section == "cost" else found


def _sizes(arms: Sequence[Arm], units: set[str]) -> tuple[Measure, ...]:
    quantities: dict[str, dict[ArmName, Score]] = {
        "parameters": {arm.name: Score(value=arm.parameters) for arm in arms},
        "bytes": {arm.name: Score(value=arm.bytes_on_disk) for arm in arms},
    }
    titles = {"parameters": "parameters", "bytes": "size on disk"}
    return tuple(
        Measure(section="cost", name=titles[unit], metric="", unit=unit, better="lower", arms=values)
        for unit, values in quantities.items()
        if values and unit not in units
    )


def smaller(results: Results) -> str:
    """How much smaller the student is than the teacher, in a sentence; empty where that is not known."""
    arms = {arm.name: arm for arm in results.arms}
    teacher, after = arms.get("teacher"), arms.get("student_after")
    if teacher is None or after is None or min(after.parameters, after.bytes_on_disk) < 1:
        return ""
    parameters = verdict_table.number(teacher.parameters / after.parameters)
    size = verdict_table.number(teacher.bytes_on_disk / after.bytes_on_disk)
    return f"The teacher has {parameters} times the parameters of the student and {size} times its size on disk."


def why_empty(results: Results, section: Section) -> str:
    """Why a section holds no measure, as far as the results tell."""
    asked = _section(_section(results.provenance, "recipe"), "eval")
    key = _RECIPE_KEYS.get(section, "")
    if key in asked and not asked[key]:
        return f"The recipe does not ask for it: eval.{key} is switched off."
    return "The results hold no measure of this kind. What was not measured, and why, is listed at the end."


def score_text(score: Score | None, unit: str, *, signed: bool = False) -> str:
    """A value and its interval on one line."""
    interval = verdict_table.interval_text(score, unit)
    return verdict_table.value_text(score, unit, signed=signed) + (f" ({interval})" if interval else "")


def counts(measure: Measure) -> str:
    """How many items a measure rests on; several numbers where the arms differ."""
    found = sorted({score.n for score in measure.arms.values() if score.n is not None})
    return " / ".join(f"{n:,}" for n in found) or "–"


def times(measure: Measure) -> str:
    """Student after as a multiple of the teacher."""
    teacher, after = measure.arms.get("teacher"), measure.arms.get("student_after")
    return "–" if teacher is None or after is None or not teacher.value else f"{after.value / teacher.value:.2f}×"


def facts(record: Mapping[str, Any], *left_out: str) -> list[tuple[str, str]]:
    """Keys and values of a record, whatever it holds, as lines of text; nested keys are joined by a dot."""
    found: list[tuple[str, str]] = []
    for key, value in record.items():
        if key in left_out or value is None:
            continue
        if isinstance(value, Mapping):
            found += [(f"{key}.{name}", text) for name, text in facts(value)]
        else:
            found.append((str(key), _fact(value)))
    return found


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def recipe_yaml(results: Results) -> str:
    """The resolved recipe as YAML; empty where the results do not hold it."""
    recipe = results.provenance.get("recipe")
    if not recipe:
        return ""
    return visible(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).rstrip(), 20_000)


def _section(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}
