"""How results read in words and numbers, and the table that ends a run in the terminal."""

import math
import unicodedata

from rich.table import Table
from rich.text import Text

from .results import ARMS, ArmName, GateResult, Measure, Results, Score, Verdict

ARM_TITLES: dict[ArmName, str] = {
    "teacher": "teacher",
    "student_before": "student before",
    "student_after": "student after",
}
VERDICT_STYLES: dict[Verdict, str] = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}
UNCLEAR = "no clear difference"
_CHANGE_STYLES = {"better": "green", "worse": "red"}
# Zero-width joiners stay: emoji and several scripts are unreadable without them.
_LEFT_ALONE = "\n\t\u200c\u200d"


def visible(text: str, limit: int = 4_000) -> str:
    """Show control characters and marks that reorder text as symbols; cut after `limit` characters."""
    shown = "".join(map(_visible_character, text[:limit].replace("\r\n", "\n")))
    cut = len(text) - limit
    return shown if cut <= 0 else f"{shown} [… {cut:,} more characters]"


def one_line(text: str, limit: int = 80) -> str:
    """`visible` text without line breaks, for names and table cells."""
    return " ".join(visible(text, limit).split())


def _visible_character(character: str) -> str:
    if character.isprintable() or character in _LEFT_ALONE or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return f"⟨U+{code:04X}⟩"


def number(value: float, beside: float = 0.0, *, signed: bool = False) -> str:
    """Write a number with about three significant digits, as fine as the largest number `beside` it needs."""
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else "∞" if value > 0 else "−∞"
    size = max(abs(value), abs(beside) if math.isfinite(beside) else 0.0)
    sign = "+" if signed and value > 0 else ""
    if size == 0:
        return "0"
    if size >= 1e7 or size < 1e-4:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{sign}{mantissa}e{int(exponent)}".replace("-", "−")
    magnitude = math.floor(math.log10(size))
    decimals = 1 - magnitude if size < 0.01 else 3 if size <= 1 else 2 - magnitude
    rounded = round(value, decimals) + 0.0  # adding zero turns −0 into 0
    return f"{sign}{rounded:,.{max(decimals, 0)}f}".replace("-", "−")


def quantity(value: float, unit: str, beside: float = 0.0, *, signed: bool = False) -> str:
    """Write a number in its unit where the unit changes how it is written: bytes and counts of parameters."""
    steps = {"bytes": ("bytes", "kB", "MB", "GB", "TB"), "parameters": ("", "k", "M", "B", "T")}.get(unit)
    if steps is None or not math.isfinite(value):
        return number(value, beside, signed=signed)
    size = max(abs(value), 1.0)
    step = min(int(math.log10(size) // 3), len(steps) - 1)
    sign = "+" if signed and value > 0 else ""
    return f"{sign}{value / 1000**step:.4g} {steps[step]}".replace("-", "−").rstrip()


def value_text(score: Score | None, unit: str = "", *, signed: bool = False) -> str:
    """Write the value of a score; a dash where there is none."""
    return "–" if score is None else quantity(score.value, unit, _widest(score), signed=signed)


def interval_text(score: Score | None, unit: str = "", joint: str = " to ") -> str:
    """Write the 95 % interval of a score; empty where there is none."""
    if score is None or score.low is None or score.high is None:
        return ""
    widest = _widest(score)
    return quantity(score.low, unit, widest) + joint + quantity(score.high, unit, widest)


def _widest(score: Score) -> float:
    return max(abs(x) for x in (score.value, score.low or 0.0, score.high or 0.0))


def arrow(measure: Measure) -> str:
    """Which way is better, as one sign: up, down, a target, or a dot for neither."""
    if measure.target is not None:
        return f"→{measure.target:g}"
    return {"higher": "↑", "lower": "↓", "neither": "·"}[measure.better]


def direction(measure: Measure) -> str:
    """Which way is better, in words."""
    if measure.target is not None:
        return f"{measure.target:g} is ideal"
    return {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}[
        measure.better
    ]


def change_word(measure: Measure) -> str:
    """What the change against the teacher amounts to, in words; empty without an interval."""
    change, teacher, after = measure.change, measure.arms.get("teacher"), measure.arms.get("student_after")
    if change is None or change.low is None or change.high is None:
        return ""
    if change.low <= 0 <= change.high:
        return UNCLEAR
    if measure.target is not None and teacher is not None and after is not None:
        nearer = abs(after.value - measure.target) < abs(teacher.value - measure.target)
        return f"{'nearer to' if nearer else 'further from'} {measure.target:g}"
    if measure.better == "neither":
        return "different"
    return "better" if (change.value > 0) == (measure.better == "higher") else "worse"


def headline(results: Results) -> str:
    """Say in a sentence or two what was found; with gates, what became of them."""
    gates, found = results.gates, _found(results)
    if not gates:
        return f"{found} No gate was set, so there is no pass or fail, only numbers."
    failed = [g for g in gates if g.verdict == "FAIL"]
    open_ = [g for g in gates if g.verdict == "INCONCLUSIVE"]
    if failed:
        verdict = f"{len(failed)} of {_gates(len(gates))} failed: {_named(failed)}."
    elif open_:
        verdict = f"No gate failed, but {len(open_)} of {_gates(len(gates))} could not be decided: {_named(open_)}."
    else:
        verdict = f"{'The one gate' if len(gates) == 1 else f'All {_gates(len(gates))}'} passed."
    return f"{verdict} {found}"


def _gates(count: int) -> str:
    return f"{count} gate{'' if count == 1 else 's'}"


def _named(gates: list[GateResult]) -> str:
    return ", ".join(f"{gate.measure} {gate.metric}" for gate in gates)


def _found(results: Results) -> str:
    size = _size(results)
    kept = [(m, share) for m in results.measures if (share := retention(m)) is not None]
    if len(kept) == 1:
        measure, share = kept[0]
        teacher, after = (value_text(measure.arms[arm], measure.unit) for arm in ("teacher", "student_after"))
        numbers = f"{measure.metric} {after} against {teacher}"
        return f"{size}he student keeps {_percent(share)} of the teacher on {measure.name} ({numbers})."
    if kept:
        (worst, least), (best, most) = min(kept, key=lambda k: k[1]), max(kept, key=lambda k: k[1])
        span = f"{_percent(least)} ({worst.name}) to {_percent(most)} ({best.name})"
        return f"{size}he student keeps {span} of the teacher on {len(kept)} benchmarks."
    for measure in results.measures:
        if "student_after" in measure.arms:
            value = value_text(measure.arms["student_after"], measure.unit)
            alone = f"on {measure.name} the student's {measure.metric} is {value}"
            return f"No benchmark compares student and teacher; {alone}."
    return "Nothing was measured of the student."


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _size(results: Results) -> str:
    parameters = {arm.name: arm.parameters for arm in results.arms}
    teacher, after = parameters.get("teacher", 0), parameters.get("student_after", 0)
    return f"With {_percent(after / teacher)} of the parameters t" if teacher > 0 and after > 0 else "T"


def retention(measure: Measure) -> float | None:
    """Student after divided by teacher on a benchmark where higher is better; None where it says nothing."""
    teacher, after = measure.arms.get("teacher"), measure.arms.get("student_after")
    if measure.section != "benchmark" or measure.better != "higher" or teacher is None or after is None:
        return None
    return after.value / teacher.value if teacher.value > 0 and math.isfinite(after.value) else None


def verdict_table(results: Results) -> Table:
    """Every measure for teacher, student before and student after, with the change against the teacher."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", caption_justify="left")
    table.caption = _caption(results)
    table.add_column("measure", overflow="fold")
    table.add_column("n", justify="right", style="dim")
    for title in ("teacher", "before", "after"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("after − teacher (95 %)", overflow="fold")
    section = None
    for measure in results.measures:
        if measure.section != section:
            section = measure.section
            table.add_row(Text(section, style="bold cyan"))
        table.add_row(*_cells(measure))
    return table


def _cells(measure: Measure) -> list[Text]:
    name = Text(f"{one_line(measure.name)} {one_line(measure.metric)}{arrow(measure)}{'*' if measure.probe else ''}")
    counts = {score.n for score in measure.arms.values() if score.n is not None}
    values = [value_text(measure.arms.get(arm), measure.unit) for arm in ARMS]
    word, interval = change_word(measure), interval_text(measure.change, measure.unit, "…")
    verdict = "unclear" if word == UNCLEAR else word
    change = [
        value_text(measure.change, measure.unit, signed=True),
        f"({interval})" if interval else "",
        verdict,
    ]
    style = _CHANGE_STYLES.get(word, "")
    n = "/".join(f"{count:,}" for count in sorted(counts))
    return [name, Text(n), *map(Text, values), Text(" ".join(filter(None, change)), style=style)]


def _caption(results: Results) -> str:
    parts = ["↑ higher is better, ↓ lower is better, → the ideal value; unclear: the interval contains 0"]
    if any(measure.probe for measure in results.measures):
        parts.append("* a small probe made for potstill, not a published benchmark")
    return "\n".join(parts)


def gate_lines(results: Results) -> tuple[Text, ...]:
    """One line for each gate, and the sentence that sums the evaluation up."""
    lines = []
    for gate in results.gates:
        line = Text(f"{gate.verdict:<12}", style=VERDICT_STYLES[gate.verdict])
        lines.append(
            line.append(
                f" {one_line(gate.measure)} {one_line(gate.metric)}: {visible(gate.reason, 300)}",
                style="default",
            )
        )
    return (*lines, Text(visible(headline(results), 600)))
