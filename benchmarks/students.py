"""Students of the bundled teacher for the training benchmarks: trained once, measured on held-out answers."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from answers import TOP_K, answers

from potstill import models
from potstill.models import ModelSource
from potstill.recipe_file import load_recipe
from potstill.signal import Signal
from potstill.train.data import SignalCollator

TEACHER = ModelSource("bundled:smollm2-135m-instruct", dtype="float32")
TASKS = ("probe_grammar", "probe_completion")
ITEMS = 100
COMMON_STUDENT = ["train.max_steps=40", "train.per_device_train_batch_size=4"]


class LiveTeacher(SignalCollator):
    """Gives the teacher's probabilities of all tokens instead of the stored ones: the dense loss."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.teacher = models.load_model(TEACHER)

    @torch.no_grad()
    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch whose top k are all tokens."""
        batch = super().__call__(rows)
        predicts = batch["labels"][:, 1:] != -100
        logprobs_NV = self.teacher(batch["input_ids"]).logits[:, :-1][predicts].log_softmax(-1)
        batch["topk_logprobs"] = logprobs_NV
        batch["topk_ids"] = torch.arange(logprobs_NV.shape[1]).expand_as(logprobs_NV)
        batch["log_tail"] = torch.full_like(batch["log_tail"], -torch.inf)
        return batch


def student(folder: Path, overrides: Sequence[str], dense: bool = False) -> Path:
    """The quickstart's student with other settings, trained on the benchmark's answers; one that is there already is
    taken as it is."""
    from potstill.train import train_student

    if (folder / "student" / "config.json").is_file():
        return folder / "student"
    signal = answers()
    recipe = load_recipe("quickstart", ["train.save_steps=1000", *overrides]).recipe
    with mock.patch("potstill.train.stage.SignalCollator", LiveTeacher) if dense else nullcontext():
        return train_student(recipe, signal.folder, folder)


def held_out(model_folder: Path, tasks: bool = False) -> dict[str, float]:
    """KL (nat per token), perplexity and calibration error on held-out answers, and the tasks' accuracy if wanted.

    What was measured once is kept beside the model.
    """
    kept = model_folder.parent / f"{model_folder.name}-{'tasks' if tasks else 'held-out'}.json"
    if not kept.exists():
        model = models.load_model(ModelSource(str(model_folder), dtype="float32"))
        found = _fidelity(model, answers()) | (_tasks(model, model_folder) if tasks else {})
        kept.write_text(json.dumps(found))
    loaded: dict[str, float] = json.loads(kept.read_text())
    return loaded


@torch.no_grad()
def _fidelity(model: Any, signal: Signal) -> dict[str, float]:
    from potstill.eval.calibration import uncorrected_error
    from potstill.eval.fidelity import bucket_metrics

    rows = signal.dataset("held_out")
    collate = SignalCollator(signal, 1024, TOP_K)
    sums, confidences, hits = {"kl": 0.0, "nll": 0.0}, [], []
    for start in range(0, len(rows), 4):
        batch = collate(list(rows.select(range(start, min(start + 4, len(rows))))))
        predicts = batch["labels"][:, 1:] != -100
        logits_NV, labels_N = model(batch["input_ids"]).logits[:, :-1][predicts], batch["labels"][:, 1:][predicts]
        found = bucket_metrics(logits_NV, batch["topk_ids"], batch["topk_logprobs"], batch["log_tail"], labels_N)
        for name in sums:
            sums[name] += found[name].sum().item()
        top = logits_NV.softmax(-1).max(-1)
        confidences.append(top.values)
        hits.append(top.indices == labels_N)
    confidence, hit = torch.cat(confidences).numpy(), torch.cat(hits).numpy()
    tokens = len(hit)
    return {
        "kl": sums["kl"] / tokens,
        "perplexity": math.exp(sums["nll"] / tokens),
        "calibration_error": uncorrected_error(confidence, hit),
    }


def _tasks(model: Any, folder: Path) -> dict[str, float]:
    from lm_eval.models.huggingface import HFLM

    from potstill.eval.benchmarks import load_tasks, run_task

    lm = HFLM(pretrained=model, tokenizer=models.load_tokenizer(ModelSource(str(folder))), batch_size=16)
    found = {name: run_task(lm, name, group, ITEMS, 0) for name, group in load_tasks(TASKS, None).items()}
    return {name: float(np.mean(result.metrics["acc"].values or [])) for name, result in found.items()}
