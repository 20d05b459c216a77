"""The train stage: a teacher-signal dataset in, a student out."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars
from transformers import set_seed
from transformers.utils import logging

from potstill import models
from potstill.console import console, progress
from potstill.errors import BadInput
from potstill.models import ModelSource
from potstill.recipe import Lora, Recipe, Train
from potstill.signal import open_signal

from .data import SignalCollator, TrainingRows, require_signal, training_rows
from .folders import newest_checkpoint, whole_folder
from .metrics import MetricsLog
from .precision import choose_float32_matmul
from .student import write_untrained_student
from .trainer import DistillationTrainer, loss_settings, training_arguments


def train_student(recipe: Recipe, signal_folder: Path, out: Path) -> Path:
    """Train the recipe's student on a teacher-signal dataset; returns the folder of the finished model.

    Writes to `out`: `student_before`, `student.json`, `metrics.jsonl`, `checkpoints` while it lasts, and `student`.
    What is there already is not made again, and training goes on from the newest complete checkpoint. Raises
    BadInput when recipe, signal and student do not fit together, StageFailed when the loss is not a number.
    """
    student, before = out / "student", out / "student_before"
    if student.is_dir():
        return student
    _quiet()
    choose_float32_matmul()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadInput("the train stage runs in one process: start it without torchrun or accelerate launch")
    signal = open_signal(signal_folder)
    if not signal.info.complete:
        raise BadInput(f"{signal_folder} is not finished: run the generate stage again, it goes on where it stopped")
    require_signal(signal, recipe.train.kd)
    collator = SignalCollator(signal, recipe.train.max_length, recipe.train.kd.top_k)
    rows = training_rows(signal, recipe.train.max_length)
    if not before.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        write_untrained_student(recipe, signal, before, out / "student.json")
    model = _trained(recipe, rows, collator, before, out)
    _save(model, before, student)
    # Twelve bytes a parameter each, and of no more use.
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return student


def _trained(recipe: Recipe, rows: TrainingRows, collator: SignalCollator, before: Path, out: Path) -> Any:
    """Train, or go on training, until all steps are done; returns the model."""
    source = ModelSource(str(before), trust_remote_code=recipe.student.trust_remote_code, dtype="float32")
    model = models.load_model(source)
    if recipe.student.lora is not None:
        model = _with_adapters(model, recipe.student.lora, recipe.seed)
    total = _total_steps(len(rows.lengths), recipe.train)
    checkpoint = newest_checkpoint(out / "checkpoints")
    done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    _announce(model, rows, total, done, recipe.train.max_length)
    with progress("Training", total, done) as advance:
        trainer = DistillationTrainer(
            rows=rows,
            settings=loss_settings(recipe),
            metrics=MetricsLog(out / "metrics.jsonl", done, advance),
            model=model,
            args=training_arguments(recipe, total, out / "checkpoints"),
            data_collator=collator,
            processing_class=models.load_tokenizer(source),
        )
        if done < total:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        else:
            # The run was stopped between its last checkpoint and the saving of the student.
            trainer._load_from_checkpoint(str(checkpoint))
    return trainer.model


def _with_adapters(model: Any, lora: Lora, seed: int) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    set_seed(seed)
    try:
        return get_peft_model(
            model,
            LoraConfig(
                task_type="CAUSAL_LM",
                r=lora.r,
                lora_alpha=lora.lora_alpha,
                lora_dropout=lora.lora_dropout,
                target_modules=targets,
            ),
        )
    except ValueError as error:
        raise BadInput(f"`student.lora.target_modules` {lora.target_modules} cannot be used: {error}") from None


def _total_steps(rows: int, train: Train) -> int:
    """Optimiser steps of the whole run."""
    if train.max_steps is not None:
        return train.max_steps
    batches = math.ceil(rows / train.per_device_train_batch_size)
    return math.ceil(train.epochs * math.ceil(batches / train.gradient_accumulation_steps))


def _announce(model: Any, rows: TrainingRows, total: int, done: int, max_length: int) -> None:
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    console.print(
        f"Training {trainable / 1e6:,.1f} M of {model.num_parameters() / 1e6:,.1f} M parameters on "
        f"{len(rows.lengths):,} answers ({rows.response_tokens:,} response tokens)"
    )
    if rows.left_out:
        console.print(
            f"[yellow]{rows.left_out:,} answers are left out:[/] their prompts fill `train.max_length` ({max_length})"
        )
    if done:
        console.print(f"Going on after step {done:,} of {total:,}")


def _save(model: Any, before: Path, folder: Path) -> None:
    """Write the trained weights in bfloat16, with everything else as it was in the untrained student."""
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    with whole_folder(folder) as temporary:
        model.to(torch.bfloat16).save_pretrained(temporary)
        for file in before.iterdir():
            # Training may rewrite special tokens and padding; what is used later must not change by that.
            if not file.name.startswith("model"):
                shutil.copyfile(file, temporary / file.name)


def _quiet() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
