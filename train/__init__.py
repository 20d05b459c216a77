"""Train: a teacher-signal dataset in, a student out."""

from pathlib import Path

from potstill.recipe import Recipe


def train_student(recipe: Recipe, signal_folder: Path, out: Path) -> Path:
    """Train the student of a recipe on a teacher-signal dataset; see `stage.train_student`."""
    from .stage import train_student as run

    return run(recipe, signal_folder, out)
