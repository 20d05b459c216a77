"""One side of `loss_layer.py` in this process: prints the milliseconds and the MiB of a step."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from own_process import growth
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from potstill.train.precision import choose_float32_matmul

Inputs = dict[str, Tensor]
"""The student's and the teacher's hidden states and output layers, and the teacher's signal."""


def main(side: str, dtype: str, path: str, repeats: str) -> None:
    choose_float32_matmul()
    loss, inputs = _loss(side, dtype), torch.load(path)
    for name in ("hidden", "weight"):
        inputs[name].requires_grad_()

    def step(rows: int | None = None) -> None:
        inputs["hidden"].grad = inputs["weight"].grad = None
        heads = {"weight": inputs["weight"], "teacher_weight": inputs["teacher_weight"]}
        loss({name: heads.get(name, tensor[:rows]) for name, tensor in inputs.items()}).backward()

    step(8)  # libraries and threads start with the first step
    inputs["hidden"].grad = inputs["weight"].grad = None
    gradients = sum(inputs[name].nbytes for name in ("hidden", "weight"))
    memory = growth(step) - gradients
    seconds = []
    for _ in range(int(repeats)):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    print(json.dumps([median(seconds) * 1e3, memory / 2**20]))


def _loss(side: str, dtype: str) -> Callable[[Inputs], Tensor]:
    """The loss of one side as a function of its inputs."""
    beta = 0.5 if side.endswith("05") else 0.0
    if side == "ce":
        return lambda x: F.cross_entropy(_logits(x["hidden"], x["weight"], dtype), x["tokens"])
    if side.startswith("gkd"):
        from trl.experimental.gkd import GKDTrainer

        def gkd(x: Inputs) -> Tensor:
            student_1NV = _logits(x["hidden"], x["weight"], dtype)[None]
            with torch.no_grad():
                teacher_1NV = _logits(x["teacher_hidden"], x["teacher_weight"], dtype)[None]
            # Labels as the trainer hands them over; here every position counts.
            return GKDTrainer.generalized_jsd_loss(student_1NV, teacher_1NV, x["tokens"][None], beta)

        return gkd
    return _trl_chunked(beta, dtype) if side.startswith("trl") else _ours(side, dtype)


def _logits(hidden_ND: Tensor, weight_VD: Tensor, dtype: str) -> Tensor:
    """As trainers see them: the product in the fast format, what comes out of the model in float32."""
    with _autocast(dtype):
        return F.linear(hidden_ND, weight_VD).float()


def _autocast(dtype: str) -> Any:
    return torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def _trl_chunked(beta: float, dtype: str) -> Callable[[Inputs], Tensor]:
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    def loss(x: Inputs) -> Tensor:
        hidden = x["hidden"][None], x["teacher_hidden"][None]
        with _autocast(dtype):
            mask = torch.ones_like(x["tokens"][None])
            return _chunked_divergence_loss(*hidden, x["weight"], x["teacher_weight"], mask, beta)[0]

    return loss


def _ours(side: str, dtype: str) -> Callable[[Inputs], Tensor]:
    from potstill.recipe_file import load_recipe
    from potstill.train.loss import Targets, distillation_loss
    from potstill.train.trainer import loss_settings

    divergence = "jsd" if side == "jsd" else "forward_kl"
    settings = loss_settings(load_recipe("quickstart", [f"train.kd.divergence={divergence}"]).recipe)
    if dtype == "float32":
        settings = replace(settings, matmul_dtype=None)

    def loss(x: Inputs) -> Tensor:
        targets = Targets(x["tokens"], x["topk_ids"], x["topk"], x["tail"], x["tail"])
        return distillation_loss(x["hidden"], x["weight"], targets, settings, float(len(x["tokens"]))).loss

    return loss


if __name__ == "__main__":
    main(*sys.argv[1:])
