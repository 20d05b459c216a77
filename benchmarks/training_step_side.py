"""Train the student once, in this process, with one of the trainers that `training_step.py` compares.

Prints response tokens a second of the second epoch, and the MiB that training adds to what libraries take.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from own_process import peak, reset_peak, resident
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from potstill import models
from potstill.models import ModelSource
from potstill.recipe_file import load_recipe
from potstill.recipe_train import Train
from potstill.signal import Signal, open_signal
from potstill.train import data, metrics, stage, trainer
from potstill.train.batches import plan_batches
from potstill.train.precision import choose_float32_matmul, has_fast_bfloat16

ROWS = 32
EPOCHS = 2
"""The first one warms up."""
PEERS = {
    # Both are right, and which is faster depends on the machine.
    "sft_padded": {"train_sampling_strategy": "group_by_length"},
    "sft_padding_free": {"padding_free": True},
    "gkd_beta0": {"train_sampling_strategy": "group_by_length", "beta": 0.0, "lmbda": 0.0},
    "gkd_beta05": {"train_sampling_strategy": "group_by_length", "beta": 0.5, "lmbda": 0.0},
}


@dataclass(frozen=True)
class Work:
    """What every side is given."""

    recipe: Any
    signal: Signal
    student: Path
    rows: data.TrainingRows
    scratch: Path

    @property
    def steps(self) -> int:
        """Optimiser steps of all epochs."""
        return EPOCHS * -(-len(self.rows.lengths) // self.recipe.train.per_device_train_batch_size)


class Stopwatch(TrainerCallback):
    """Times the second half of the steps, up to the end of the last one."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Saving, which may follow the last step, does not count."""
        if state.global_step == state.max_steps // 2:
            self.started = time.perf_counter()
        elif state.global_step == state.max_steps:
            self.seconds = time.perf_counter() - self.started


def train(side: str, signal_folder: str, student: str) -> tuple[float, float, Work]:
    """Response tokens a second, MiB, and what was trained on."""
    stage._quiet()
    choose_float32_matmul()
    recipe = load_recipe("quickstart", ["train.save_steps=1000", f"train.kd.divergence={divergence(side)}"]).recipe
    signal = open_signal(signal_folder)
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(recipe, signal, Path(student), chosen_rows(signal, recipe.train.max_length), Path(scratch))
        before = resident()
        reset_peak()
        made, stopwatch = (ours if side.startswith("ours") else peer)(side, work), Stopwatch()
        made.remove_callback(PrinterCallback)
        made.add_callback(stopwatch)
        made.train()
        return work.rows.response_tokens / stopwatch.seconds, (peak() - before) / 2**20, work


def divergence(side: str) -> str:
    """That of one of our sides."""
    return "jsd" if side.endswith("beta05") else "forward_kl"


def chosen_rows(signal: Signal, max_length: int) -> data.TrainingRows:
    """`ROWS` answers from all over the dataset, which has the short ones first."""
    rows = data.training_rows(signal, Train(max_length=max_length))
    chosen = range(0, len(rows.lengths), len(rows.lengths) // ROWS)[:ROWS]
    dataset = rows.dataset.select(chosen)
    tokens = sum(min(len(r["response_ids"]), max_length - len(r["prompt_ids"])) for r in dataset)
    return replace(rows, dataset=dataset, lengths=rows.lengths[list(chosen)], response_tokens=tokens)


def ours(side: str, work: Work) -> Any:
    """The train stage's own trainer."""
    log = metrics.MetricsLog(work.scratch / "metrics.jsonl", 0, lambda **_: None)
    return trainer.DistillationTrainer(
        rows=work.rows,
        plan=plan_batches(work.rows.lengths, work.recipe.train.model_copy(update={"epochs": EPOCHS}), 0),
        settings=trainer.loss_settings(work.recipe),
        metrics=log,
        model=models.load_model(ModelSource(str(work.student), dtype="float32")),
        args=trainer.training_arguments(work.recipe, work.steps, work.scratch),
        data_collator=data.SignalCollator(work.signal, work.recipe.train.max_length, None),
        processing_class=models.load_tokenizer(ModelSource(str(work.student))),
    )


def peer(side: str, work: Work) -> Any:
    """TRL's trainer on the same answers: only their tokens count, and no activation is computed twice."""
    make: Callable[..., Any] = SFTTrainer
    config: Callable[..., Any] = SFTConfig
    more = {}
    if side.startswith("gkd"):
        from trl.experimental.gkd import GKDConfig, GKDTrainer

        make, config = GKDTrainer, GKDConfig
        dtype = "bfloat16" if has_fast_bfloat16() else "float32"
        more["teacher_model"] = models.load_model(ModelSource(work.recipe.teacher.model, dtype=dtype))
    own = trainer.training_arguments(work.recipe, work.steps, work.scratch).to_dict()
    same = ("per_device_train_batch_size", "learning_rate", "optim", "bf16", "use_cpu", "max_grad_norm", "max_steps")
    same += ("lr_scheduler_type", "save_steps", "logging_steps", "disable_tqdm", "dataloader_pin_memory", "log_level")
    arguments = {name: own[name] for name in same} | PEERS[side]
    max_length = None if side == "sft_padding_free" else work.recipe.train.max_length
    return make(
        model=models.load_model(ModelSource(str(work.student), dtype="float32")),
        args=config(
            output_dir=str(work.scratch),
            gradient_checkpointing=False,
            completion_only_loss=True,
            report_to="none",
            max_length=max_length,
            **arguments,
        ),
        train_dataset=tokenised(work.rows.dataset),
        processing_class=models.load_tokenizer(ModelSource(str(work.student))),
        **more,
    )


def tokenised(rows: Any) -> Dataset:
    """Answers as TRL takes them; GKD's collator asks for a prompt although it has its tokens."""
    return Dataset.from_list(
        [
            {
                "input_ids": row["prompt_ids"] + row["response_ids"],
                "completion_mask": [0] * len(row["prompt_ids"]) + [1] * len(row["response_ids"]),
                "length": len(row["prompt_ids"]) + len(row["response_ids"]),
                "prompt": "",
            }
            for row in rows
        ]
    )


if __name__ == "__main__":
    print(json.dumps(train(*sys.argv[1:])[:2]))
