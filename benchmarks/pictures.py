"""Pictures of measurements, for the pages in docs/."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")

Curve = tuple[Sequence[float], Sequence[float]]


def line_chart(path: Path, lines: Mapping[str, Curve], across: str, up: str, across_log: bool = False) -> None:
    """Draw named curves with a logarithmic upright axis; each name stands where its curve ends."""
    from matplotlib import pyplot

    with pyplot.style.context("tableau-colorblind10"):
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for name, (xs, ys) in lines.items():
            (line,) = axes.plot(xs, ys, marker="o", markersize=3)
            axes.annotate(
                name,
                (xs[-1], ys[-1]),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=line.get_color(),
                annotation_clip=False,
            )
        axes.set(xlabel=across, ylabel=up, yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        if across_log:
            ticks = next(iter(lines.values()))[0]
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        else:
            axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        figure.savefig(path, dpi=130)
        pyplot.close(figure)
