"""What a run would do, before it does anything: stages, tokens, bytes, parameters, memory and time.

`sizes.py` counts parameters, `workload.py` tokens, `memory.py` and `speed.py` estimate, `fit.py` compares with
`machine.py` and refuses what cannot fit, `table.py` shows all of it. No weights are read.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from potstill.run import Run, Stage

LARGE = ("generate", "train")
"""The stages whose memory is estimated."""

__all__ = ["require_memory", "show_plan"]


def show_plan(run: "Run") -> None:
    """Print the plan of a run. Raises BadInput, after that, when a stage cannot fit into memory."""
    from potstill.plan.table import show_plan

    show_plan(run)


def require_memory(run: "Run", stages: "Collection[Stage]") -> None:
    """Raise BadInput when one of the stages cannot fit into memory; what cannot be known is let through."""
    from potstill.pipeline import states

    found = states(run)
    if all(found[stage] == "done" for stage in stages if stage in LARGE):
        return
    from potstill.plan.estimate import estimate, require_fit

    require_fit(estimate(run, stages))
