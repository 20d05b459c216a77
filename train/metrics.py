"""`metrics.jsonl`: one line per logging step, and none twice however often a run is interrupted."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from transformers import TrainerCallback

from potstill.console import Advance
from potstill.files import write_text

from .folders import mark_complete
from .loss import LossTerms


class MetricsRow(BaseModel):
    """One line, about the steps since the line before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    tokens: int
    """Response tokens seen so far."""
    loss: float
    """What was optimised, mean over the steps."""
    kl: float
    """Divergence from the teacher in nats, mean over the response tokens."""
    ce: float
    """Cross-entropy on the teacher's tokens in nats, mean over the response tokens."""
    tail_mass: float
    """Probability that the student gives to tokens outside the teacher's top k, mean over the response tokens."""
    grad_norm: float
    learning_rate: float
    tokens_per_second: float


class MetricsLog(TrainerCallback):
    """Counts what the loss reports, writes the rows, and moves the progress bar."""

    def __init__(self, path: Path, step: int, advance: Advance):
        rows = rows_until(path, step)
        write_text(path, "".join(row.model_dump_json() + "\n" for row in rows))
        self.path, self.advance = path, advance
        self.tokens = rows[-1].tokens if rows else 0
        self._start_window(step)

    def _start_window(self, step: int) -> None:
        self.window_step, self.window_tokens, self.window_start = step, 0, time.monotonic()
        self.loss = self.kl = self.ce = self.tail = 0.0
        self.step_tokens = 0

    def add(self, terms: LossTerms, tokens: int) -> None:
        """Count a micro-batch."""
        self.loss += terms.loss.item()
        self.kl += terms.kl_sum.item()
        self.ce += terms.ce_sum.item()
        self.tail += terms.student_tail_sum.item()
        self.window_tokens += tokens
        self.step_tokens += tokens

    def write(self, step: int, logs: Mapping[str, float]) -> MetricsRow:
        """Write the row of the steps since the last one, with what the trainer knows about this one."""
        self.tokens += self.window_tokens
        row = MetricsRow(
            step=step,
            tokens=self.tokens,
            loss=self.loss / (step - self.window_step),
            kl=self.kl / self.window_tokens,
            ce=self.ce / self.window_tokens,
            tail_mass=self.tail / self.window_tokens,
            grad_norm=logs["grad_norm"],
            learning_rate=logs["learning_rate"],
            tokens_per_second=self.window_tokens / (time.monotonic() - self.window_start),
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(row.model_dump_json() + "\n")
        self._start_window(step)
        return row

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar; a step that is saved is also logged, so that no row spans an interruption."""
        self.advance(tokens=self.step_tokens)
        self.step_tokens = 0
        if control.should_save or state.global_step >= state.max_steps:
            control.should_log = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint that was just written as complete."""
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def rows_until(path: Path, step: int) -> list[MetricsRow]:
    """The rows of a metrics file up to a step; a last line cut short by a kill is passed over."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = MetricsRow.model_validate_json(line)
        except ValidationError:
            break
        if row.step <= step:
            rows.append(row)
    return rows
