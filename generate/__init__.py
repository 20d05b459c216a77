"""Generate: a teacher answers prompts, and its answers are stored with its top-k log-probabilities."""

from pathlib import Path

from potstill.recipe import Recipe
from potstill.signal import SignalInfo


def generate(recipe: Recipe, recipe_folder: Path, out: Path) -> SignalInfo:
    """Let the teacher answer the prompts of a recipe; see `stage.generate`."""
    from .stage import generate as run

    return run(recipe, recipe_folder, out)
