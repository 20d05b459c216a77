"""What a reader might expect to find in a report and does not, and what was measured on too few items."""

from collections.abc import Iterable, Sequence

from potstill.recipe import Recipe

from .results import Measure

SMALL = 100
"""Items below which an accuracy is uncertain by 10 points or more either way."""


def not_measured(recipe: Recipe, measures: Sequence[Measure], reasons: Iterable[str] = ()) -> tuple[str, ...]:
    """One sentence for each gap; `reasons` are those that measuring itself came upon."""
    asked = recipe.eval
    gaps = [
        (_only_probes(measures), "Published benchmarks: probes are small sets made for potstill."),
        (not asked.fidelity, "Fidelity to the teacher's distributions: switched off, or none are stored."),
        (not asked.bias, "Bias: no task is named in the recipe (`eval.bias`)."),
        (not asked.toxicity, "Toxicity: none is asked for in the recipe (`eval.toxicity`)."),
        (_is_lexical(recipe), "Toxicity towards groups: the lexical scorer cannot tell an insult from an identity "
         "term, so no gap between groups is given."),
        (not asked.safety, "Safety: whether the student refuses what the teacher refuses (`eval.safety`)."),
        (not asked.robustness, "Robustness to typos, case, spacing and distracting sentences (`eval.robustness`)."),
        (not asked.out_of_domain, "Retention outside of what the student was distilled for (`eval.out_of_domain`)."),
        (not asked.contamination, "Overlap of the training text with the evaluation items (`eval.contamination`)."),
    ]  # fmt: skip
    return (*(sentence for missing, sentence in gaps if missing), *reasons, *_underpowered(measures))


def _only_probes(measures: Sequence[Measure]) -> bool:
    return all(m.probe for m in measures if m.section == "benchmark")


def _is_lexical(recipe: Recipe) -> bool:
    scorer = recipe.eval.scorer
    return bool(recipe.eval.toxicity) and not (scorer.classifier or scorer.guard or scorer.python)


def _underpowered(measures: Sequence[Measure]) -> Iterable[str]:
    few = {m.name: n for m in measures if m.section != "cost" and 0 < (n := _items(m)) < SMALL}
    if few:
        named = ", ".join(f"{name} ({n})" for name, n in few.items())
        yield f"Underpowered, with fewer than {SMALL} items: {named}. Their intervals say how little is known."


def _items(measure: Measure) -> int:
    return 0 if measure.group else max((score.n or 0 for score in measure.arms.values()), default=0)
