"""Model folders that are seen whole or not at all, and checkpoints that are known to be whole."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from potstill.files import write_text

COMPLETE = "complete"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; on success sync it to disk and rename it to `path`."""
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    _sync(temporary)
    temporary.rename(path)


def mark_complete(checkpoint: Path) -> None:
    """Call when everything of a checkpoint is written: only then may a run go on from it."""
    _sync(checkpoint)
    write_text(checkpoint / COMPLETE, "")


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps among the complete ones; half-written ones are removed."""
    complete: dict[int, Path] = {}
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / COMPLETE).is_file():
            complete[int(checkpoint.name.rpartition("-")[2])] = checkpoint
        else:
            shutil.rmtree(checkpoint)
    return complete[max(complete)] if complete else None


def best_checkpoint(newest: Path) -> Path:
    """The checkpoint that was best on the validation answers when `newest` was written; itself without any."""
    state = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))
    best = newest.with_name(f"checkpoint-{state.get('best_global_step')}")
    return best if best.is_dir() else newest


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
