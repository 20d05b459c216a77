"""How much of the processor's arithmetic training makes use of: response tokens a second against the limit.

The limit follows from how fast this process multiplies large square matrices in training's number format, half a probe
before training and half after it, and from what an answer needs at least: 6 operations per parameter outside the
embedding and token, prompt included, and 6 per entry of the output layer and response token. Padding, the optimiser and
attention's products of queries, keys and values, about 2 % at these lengths, count as work that is not needed.
"""

import json
import sys
import time
from collections.abc import Iterator

from own_process import measured
from run import Figure, figure

RUNS = 5
PROBE_SECONDS, PROBE_SIZE = 2.0, 2048


def measure() -> Iterator[Figure]:
    """Probe and train `RUNS` times, each time in a process of its own."""
    from training_step import prepared

    folders = prepared()
    found = [measured(__file__, *folders) for _ in range(RUNS)]
    ours, limit = ([run[column] for run in found] for column in (0, 1))
    yield figure("limit_fraction", "token/s", ours, limit, "higher")


def _main(signal_folder: str, student: str) -> None:
    from training_step_side import train

    from potstill.train.precision import choose_float32_matmul

    choose_float32_matmul()
    before = operations_per_second(PROBE_SECONDS / 2)
    speed, _, work = train("ours_beta0", signal_folder, student)
    rate = 2 / (1 / before + 1 / operations_per_second(PROBE_SECONDS / 2))
    tokens = work.rows.response_tokens
    print(json.dumps([speed, rate * tokens / operations(student, int(work.rows.lengths.sum()), tokens)]))


def operations_per_second(seconds: float) -> float:
    """Of products of square matrices, in the format that training multiplies in."""
    import torch

    from potstill.train.precision import has_fast_bfloat16

    left, right = torch.randn(2, PROBE_SIZE, PROBE_SIZE)
    if has_fast_bfloat16():
        left, right = left.bfloat16(), right.bfloat16()
    left @ right
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        left @ right
        count += 1
    return count * 2 * PROBE_SIZE**3 / elapsed


def operations(student: str, tokens: int, response_tokens: int) -> int:
    """What forward and backward passes over all answers need."""
    from potstill import models
    from potstill.models import ModelSource

    model = models.load_model(ModelSource(student))
    head = model.get_output_embeddings().weight.numel()
    # Input embedding and output layer may be one matrix, which counts once.
    ends = {layer.weight for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    body = model.num_parameters() - sum(weight.numel() for weight in ends)
    return 6 * (body * tokens + head * response_tokens)


if __name__ == "__main__":
    _main(*sys.argv[1:])
