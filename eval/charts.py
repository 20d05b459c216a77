"""Charts as inline SVG. Positions are percentages: charts fit their column, text keeps its size."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from .results import ArmName, CurvePoint, Measure, Results, Score
from .verdict_table import ARM_TITLES, UNCLEAR, change_word, interval_text, number, value_text, visible

LANE, AXIS, CURVE = 22, 20, 150
"""Heights in pixels of one row of a plot, of its axis, and of a training curve."""
GUTTER = 8.0
"""Percent of a training curve's width that the labels on its left take."""
MOST_CURVE_POINTS = 300


@dataclass(frozen=True)
class Axis:
    """Maps values to percent of a chart's width."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Position in percent, kept inside the chart."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, max(value, self.low)))
        return round(100 * (min(value, high) - low) / (high - low), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """At most `most` round values between the ends."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1, max(1, math.ceil((last - first + 1) / most)))]
        span = self.high - self.low
        rough = 10.0 ** math.floor(math.log10(span / most))
        step = next(rough * m for m in (1, 2, 5, 10, 20) if span / (rough * m) < most)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


@dataclass(frozen=True)
class Line:
    """A vertical line across every row of a plot, such as chance or a gate's margin."""

    value: float
    label: str
    kind: str


def axis_for(values: Iterable[float], *, log_allowed: bool = True) -> Axis:
    """An axis with room for all values; logarithmic where positive values differ a hundredfold."""
    finite = [value for value in values if math.isfinite(value) and abs(value) < 1e30]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if log_allowed and low > 1e-30 and high / low >= 100:
        room = (high / low) ** 0.06
        return Axis(low / room, high * room, log=True)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(low - room, high + room)


def ends(score: Score) -> list[float]:
    """All numbers of a score that a chart must have room for."""
    return [x for x in (score.value, score.low, score.high) if x is not None]


@dataclass(frozen=True)
class ForestGroup:
    """Changes that share a scale."""

    unit: str
    axis: Axis
    measures: tuple[Measure, ...]


def forest_groups(results: Results) -> tuple[ForestGroup, ...]:
    """Measures with a change against the teacher, cost aside, grouped by what can share a scale."""
    groups: dict[str, list[Measure]] = {}
    for measure in results.measures:
        if measure.change is not None and measure.section != "cost":
            groups.setdefault(_scale_of(measure), []).append(measure)
    found = []
    for unit, measures in groups.items():
        numbers = [x for m in measures if m.change is not None for x in ends(m.change)]
        numbers += [line.value for m in measures for line in margin_lines(results, m)]
        found.append(ForestGroup(unit, axis_for([0.0, *numbers], log_allowed=False), tuple(measures)))
    return tuple(found)


def _scale_of(measure: Measure) -> str:
    if measure.unit:
        return measure.unit
    shares = all(0 <= score.value <= 1 for score in measure.arms.values())
    return "share, 0 to 1" if shares else measure.metric


def margin_lines(results: Results, measure: Measure) -> tuple[Line, ...]:
    """The line on the losing side that the gate of a measure draws; on both sides where neither is better."""
    gate = next((g for g in results.gates if (g.measure, g.metric) == (measure.name, measure.metric)), None)
    if gate is None:
        return ()
    signs = {"higher": (-1,), "lower": (1,), "neither": (-1, 1)}[measure.better]
    values = [sign * abs(gate.margin) for sign in signs]
    return tuple(Line(value, f"margin {number(value, signed=True)}", "margin") for value in values)


def reference_lines(measure: Measure) -> tuple[Line, ...]:
    """Lines at chance and at the ideal value, where a measure has them."""
    found = (("chance", measure.chance), ("ideal", measure.target))
    return tuple(Line(value, f"{kind} {value:g}", kind) for kind, value in found if value is not None)


def arms_axis(measure: Measure) -> Axis:
    """The scale on which the three arms of a measure are drawn."""
    lines = [line.value for line in reference_lines(measure)]
    return axis_for([x for score in measure.arms.values() for x in ends(score)] + lines)


def largest(measure: Measure) -> float:
    """The largest finite value of any arm."""
    return max((s.value for s in measure.arms.values() if math.isfinite(s.value)), default=0.0)


def compact(value: float) -> str:
    """A short label for an axis: 0.25, 40k, 1.2M."""
    for size, suffix in ((1e12, ""), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            text = f"{value:.0e}" if not suffix else f"{value / (1e3 if suffix == 'k' else size):.3g}{suffix}"
            return text.replace("e+", "e").replace("-", "−")
    return f"{value:.6g}".replace("-", "−")


def _tag(name: str, *content: Markup, **attributes: object) -> Markup:
    fields = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), fields, Markup("").join(content))


def _svg(height: int, title: str, *content: Markup, kind: str = "") -> Markup:
    label = visible(title, 300)
    named = _tag("title", escape(label))
    return _tag(
        "svg",
        named,
        *content,
        class_=f"chart {kind}".strip(),
        width="100%",
        height=height,
        role="img",
        aria_label=label,
    )


def _vertical(x: float, kind: str, beyond: int = 0) -> Markup:
    return _tag("line", x1=f"{x}%", x2=f"{x}%", y1=-beyond, y2=LANE + beyond, class_=kind)


def _whisker(score: Score, axis: Axis) -> tuple[Markup, ...]:
    if score.low is None or score.high is None:
        return ()
    low, high, middle = axis.at(score.low), axis.at(score.high), LANE // 2
    caps = (_tag("line", x1=f"{x}%", x2=f"{x}%", y1=middle - 4, y2=middle + 4, class_="whisker") for x in (low, high))
    return (_tag("line", x1=f"{low}%", x2=f"{high}%", y1=middle, y2=middle, class_="whisker"), *caps)


def _mark(x: float, kind: str) -> Markup:
    if kind == "teacher":
        place = {"x": f"{x}%", "y": LANE // 2 - 5, "width": 10, "height": 10}
        return _tag("rect", **place, transform="translate(-5 0)", class_="mark")
    return _tag("circle", cx=f"{x}%", cy=LANE // 2, r=5, class_="mark")


def mark_svg(arm: ArmName) -> Markup:
    """The sign of an arm, for legends: teacher a square, student before a ring, student after a disc."""
    mark = _mark(50, arm)
    return _tag("svg", mark, class_=f"chart sign {arm}", width=14, height=LANE, aria_hidden="true")


def lane_svg(measure: Measure, arm: ArmName, axis: Axis, lines: Sequence[Line] = ()) -> Markup:
    """One arm's value and interval in the plot of a measure."""
    score = measure.arms[arm]
    drawn = [_vertical(axis.at(line.value), f"rule {line.kind}", beyond=8) for line in lines]
    if math.isfinite(score.value):
        drawn += [*_whisker(score, axis), _mark(axis.at(score.value), arm)]
    interval = interval_text(score, measure.unit)
    title = f"{ARM_TITLES[arm]}, {measure.name} {measure.metric}: {value_text(score, measure.unit)}"
    return _svg(LANE, title + (f", 95 % interval {interval}" if interval else ""), *drawn, kind=arm)


def forest_svg(measure: Measure, axis: Axis, lines: Sequence[Line] = ()) -> Markup:
    """The change of one measure against the teacher, its interval, and lines at no change and at margins."""
    change = measure.change
    assert change is not None, "only measures with a change are drawn"
    drawn = [_vertical(axis.at(0), "rule zero")]
    drawn += [_vertical(axis.at(line.value), f"rule {line.kind}") for line in lines]
    if math.isfinite(change.value):
        drawn += [*_whisker(change, axis), _mark(axis.at(change.value), "change")]
    word, interval = change_word(measure), interval_text(change, measure.unit)
    title = f"{measure.name} {measure.metric}, change {value_text(change, measure.unit, signed=True)}"
    details = [f"95 % interval {interval}" if interval else "", word, *(line.label for line in lines)]
    kind = {"better": "better", "worse": "worse", UNCLEAR: "unclear"}.get(word, "moved")
    return _svg(LANE, ", ".join(filter(None, [title, *details])), *drawn, kind=kind)


def axis_svg(axis: Axis) -> Markup:
    """The scale below the rows of a plot."""
    drawn = [_tag("line", x1=0, x2="100%", y1=0.5, y2=0.5, class_="frame")]
    for tick in axis.ticks():
        x = axis.at(tick)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        drawn.append(_tag("line", x1=f"{x}%", x2=f"{x}%", y1=0, y2=4, class_="frame"))
        drawn.append(_tag("text", escape(compact(tick)), x=f"{x}%", y=16, text_anchor=anchor))
    return _tag("svg", *drawn, class_="chart axis", width="100%", height=AXIS, aria_hidden="true")


def bar_svg(value: float, largest: float, arm: ArmName) -> Markup:
    """A bar for one arm; the largest value of the row fills the width."""
    share = max(0.0, min(1.0, value / largest)) if largest > 0 and math.isfinite(value) else 0.0
    bar = _tag("rect", x=0, y=1, width=f"{100 * share:.1f}%", height=6, rx=2, class_="bar")
    return _tag("svg", bar, class_=f"chart bars {arm}", width="100%", height=8, aria_hidden="true")


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_CURVE_POINTS) -> list[tuple[float, float]]:
    """At most about `most` evenly spaced points, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def curve_points(training: Sequence[CurvePoint], field: str) -> list[tuple[float, float]]:
    """Training tokens and one quantity of the log (`kl`, `ce` or `loss`), where it was logged."""
    values = {"kl": lambda p: p.kl, "ce": lambda p: p.ce, "loss": lambda p: p.loss}[field]
    found = ((float(point.tokens), values(point)) for point in training)
    return [(tokens, value) for tokens, value in found if value is not None and math.isfinite(value)]


def curve_svg(points: Sequence[tuple[float, float]], title: str) -> Markup:
    """A quantity over training tokens; an empty list draws nothing."""
    if not points:
        return Markup("")
    shown = thinned(points)
    across = Axis(min(0.0, shown[0][0]), max(shown[-1][0], 1.0))
    up = axis_for([0.0, *(value for _, value in shown)], log_allowed=False)
    places = [(_beside_labels(across.at(x)), CURVE * (1 - up.at(y) / 100)) for x, y in shown]
    drawn = [*_grid(up), *_along(across)]
    path = " ".join(f"{x:.2f},{y:.1f}" for x, y in places)
    line = _tag("polyline", points=path, class_="series", vector_effect="non-scaling-stroke")
    box = {"width": "100%", "height": CURVE, "viewBox": f"0 0 100 {CURVE}", "preserveAspectRatio": "none"}
    drawn += [
        _tag("svg", line, **box),
        _tag("circle", cx=f"{places[-1][0]}%", cy=f"{places[-1][1]:.1f}", r=3.5, class_="dot"),
    ]
    first, last = (compact(float(f"{value:.3g}")) for value in (points[0][1], points[-1][1]))
    return _svg(CURVE + AXIS, f"{title}: {first} at the start, {last} at the end", *drawn, kind="curve")


def _grid(up: Axis) -> list[Markup]:
    drawn = []
    for tick in up.ticks(5):
        y = CURVE * (1 - up.at(tick) / 100)
        drawn.append(_tag("line", x1=f"{GUTTER}%", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
        drawn.append(_tag("text", escape(compact(tick)), x=f"{GUTTER - 1.5}%", y=f"{y + 4:.1f}", text_anchor="end"))
    return drawn


def _along(across: Axis) -> list[Markup]:
    drawn = []
    for tick in across.ticks(5):
        x = _beside_labels(across.at(tick))
        anchor = "end" if x > 96 else "middle"
        drawn.append(_tag("text", escape(compact(tick)), x=f"{x}%", y=CURVE + 14, text_anchor=anchor))
    return drawn


def _beside_labels(percent: float) -> float:
    return round(GUTTER + percent * (100 - GUTTER) / 100, 2)
