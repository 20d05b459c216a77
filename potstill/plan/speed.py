"""How long generating and training take: arithmetic, over what a probe of this machine says it can do.

The probe multiplies matrices of the models' own shapes for a second. Real work reaches a share of that speed; the
shares were measured on two CPU cores (SmolLM2-135M as the teacher, 81 M parameters as the student).
"""

import math
import time
from typing import Any

from potstill.hardware import has_cuda, inference_dtype
from potstill.plan.sizes import ModelSize
from potstill.plan.workload import Workload, batch_answers
from potstill.recipe import Recipe

PROBE_SECONDS = 0.4
PROBE_SHAPE = (1024, 4096, 16384)
"""Rows, width and wide side of the largest product that is probed: a slow machine is done with it in seconds."""
TRAINING_SHARE = 0.4
"""Of the probe's speed that training reaches; the rest goes to norms, attention, the optimiser and padding."""
DECODING_SHARE = 0.75
"""The same for writing answers with vLLM."""
START_SECONDS = 20.0
"""Until vLLM or the trainer does its first useful work."""
UNCERTAIN_ON_CPU = 1.25
UNCERTAIN_ON_GPU = 2.0
"""Factor by which an estimate may be off; on GPUs nothing was measured."""


def training_work(size: ModelSize, tokens: float, response_tokens: float) -> float:
    """Floating-point operations of training: forward, and twice as much backward.

    Only response tokens go through the output layer. Frozen matrices under adapters need no gradient of their own.
    """
    blocks = 4 if size.adapters else 6
    return blocks * size.active * tokens + blocks * size.head * response_tokens


def generating_work(size: ModelSize, prompt_tokens: float, response_tokens: float) -> float:
    """Floating-point operations of reading prompts and writing answers, without attention's own."""
    return 2 * size.active * prompt_tokens + 2 * (size.active + size.head) * response_tokens


def training_seconds(
    size: ModelSize, recipe: Recipe, work: Workload, speed: float, processes: int = 1
) -> tuple[float, float]:
    """Least and most seconds of the train stage; `speed` is that of all processes together."""
    epochs = _epochs(recipe, work, processes)
    share = work.train_share * epochs
    prompts = work.train_answers * work.prompt_tokens * epochs
    redone = 4 / 3 if recipe.train.gradient_checkpointing else 1
    least, most = (
        training_work(size, prompts + share * n, share * n) * redone / (TRAINING_SHARE * speed)
        for n in work.response_tokens
    )
    return _range(least, most)


def generating_seconds(size: ModelSize, recipe: Recipe, work: Workload, speed: float) -> tuple[float, float]:
    """Least and most seconds of the generate stage."""
    # Scored answers are read; samples of the same prompt share what was read of it.
    scored = recipe.generate.mode == "score"
    prompts = (work.answers if scored else work.prompts) * work.prompt_tokens
    least, most = (generating_work(size, prompts, n) / (DECODING_SHARE * speed) for n in work.response_tokens)
    return _range(least, most)


def probe_training(size: ModelSize, tokens: int, bfloat16: bool) -> float:
    """Speed of the student's widest product on a batch of `tokens`."""
    import torch

    if not bfloat16:
        from potstill.train.precision import choose_float32_matmul

        choose_float32_matmul()
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    return _matmul_speed(tokens, size.hidden, size.intermediate, 0, dtype)


def probe_decoding(size: ModelSize, recipe: Recipe, answers: int) -> float:
    """Speed of the teacher's widest product on one token of each answer, with weights that no cache holds."""
    import torch

    name = inference_dtype(recipe.teacher.dtype)
    dtype = torch.bfloat16 if name == "auto" else getattr(torch, name)
    weights = int(min(size.active * 2, 2**30 if has_cuda() else 2**27))
    rows = 1024 if recipe.generate.mode == "score" else min(answers, recipe.generate.max_num_seqs)
    return _matmul_speed(rows, size.hidden, size.intermediate, weights, dtype)


def _matmul_speed(rows: int, width: int, wide: int, ring_bytes: int, dtype: Any) -> float:
    """Operations a second of [rows, width] times each of a ring of matrices that takes `ring_bytes`, at least one."""
    import torch

    rows, width, wide = (min(size, most) for size, most in zip((rows, width, wide), PROBE_SHAPE, strict=True))
    device = "cuda" if has_cuda() else "cpu"
    count = max(1, ring_bytes // (width * wide * dtype.itemsize))
    ring = [torch.full((wide, width), 0.01, dtype=dtype, device=device) for _ in range(count)]
    states = torch.full((rows, width), 0.01, dtype=dtype, device=device)
    _pass(states, ring, device)
    # The best pass: what else runs on the machine would make the mean another one every time.
    best, end = math.inf, time.perf_counter() + PROBE_SECONDS
    while math.isinf(best) or time.perf_counter() < end:
        start = time.perf_counter()
        _pass(states, ring, device)
        best = min(best, time.perf_counter() - start)
    return 2.0 * rows * width * wide * count / best


def _pass(states: Any, ring: list[Any], device: str) -> None:
    import torch

    with torch.no_grad():
        for weight in ring:
            torch.nn.functional.linear(states, weight)
    if device == "cuda":
        torch.cuda.synchronize()


def _epochs(recipe: Recipe, work: Workload, processes: int) -> float:
    train = recipe.train
    if train.max_steps is None:
        return train.epochs
    batch = batch_answers(train, work.mean_row) * train.gradient_accumulation_steps * processes
    return train.max_steps * batch / max(1, work.train_answers)


def _range(least: float, most: float) -> tuple[float, float]:
    uncertain = UNCERTAIN_ON_GPU if has_cuda() else UNCERTAIN_ON_CPU
    return START_SECONDS + least / uncertain, START_SECONDS + most * uncertain
