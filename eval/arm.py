"""Measure one arm, in a process of its own so that its memory is free afterwards.

Started by `launch.py` as `python -m potstill.eval.arm JOB RESULT PIPE PARENT`: the files of the job and of the
result, a file descriptor on which finished phases and errors are told, one JSON object a line, and the process to
die with.
"""

import json
import os
import random
import signal as signals
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from potstill import models
from potstill.errors import PotstillError
from potstill.files import write_text
from potstill.hardware import has_cuda
from potstill.models import ModelSource
from potstill.signal import open_signal, require_shared_ids

from .benchmarks import load_tasks, run_tasks
from .engine import Engine, HfEngine, VllmEngine
from .fidelity import measure_fidelity
from .held_out import held_out_rows, one_per_prompt
from .job import SPEED_BATCH, SPEED_REPEATS, SPEED_TOKENS, Answer, ArmJob, ArmResult, Phase

T = TypeVar("T")
Tell = Callable[[dict[str, Any]], None]


def measure(job: ArmJob, tell: Tell) -> ArmResult:
    """Do everything a job asks for; `tell` hears of every finished phase.

    Raises BadInput for tasks without data or a tokenizer that is not the teacher's, StageFailed when an
    engine fails.
    """
    clock = _Clock(tell)
    _seed(job.seed)
    # What can be wrong with the input shows before anything expensive starts.
    leaves = load_tasks(job.tasks, job.include_path) if job.tasks else {}
    signal = open_signal(job.signal_folder)
    source = ModelSource(job.model, job.revision, job.trust_remote_code, job.dtype)
    tokenizer = models.load_tokenizer(source)
    who = f"{job.arm} ({job.model})"
    require_shared_ids(signal, tokenizer, who)
    signal.require_chat_template(models.tokenizer_identity(tokenizer), who)
    rows = held_out_rows(signal, job.limit, job.seed)
    model = _load(source) if job.fidelity or job.backend == "hf" else None
    fidelity = clock("fidelity", lambda: measure_fidelity(model, signal, rows, job.batch_size)) if job.fidelity else []
    if job.backend == "vllm":
        model = None
        _free_gpu()
    engine = clock("engine", lambda: _engine(job, model, tokenizer))
    tasks = clock("tasks", lambda: run_tasks(engine.lm, leaves, job.limit, job.seed)) if leaves else {}
    asked = one_per_prompt(rows)
    prompts = [row["prompt_ids"] for row in asked]
    answers = clock("answers", lambda: engine.answer(prompts, job.max_tokens))
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return ArmResult(
        fingerprint=job.fingerprint,
        engine=engine.name,
        device=_device(),
        tasks=tasks,
        fidelity=tuple(fidelity),
        answers=tuple(
            Answer(id=row["id"], text=text, tokens=len(ids))
            for row, text, ids in zip(asked, texts, answers, strict=True)
        ),
        tokens_per_second=clock("speed", lambda: tuple(_speed(engine, prompts) for _ in range(SPEED_REPEATS))),
        seconds=clock.seconds,
    )


class _Clock:
    """Runs phases, notes how long each took and tells."""

    def __init__(self, tell: Tell):
        self.seconds: dict[Phase, float] = {}
        self._tell = tell

    def __call__(self, phase: Phase, work: Callable[[], T]) -> T:
        start = time.monotonic()
        result = work()
        self.seconds[phase] = round(time.monotonic() - start, 2)
        self._tell({"phase": phase})
        return result


def _seed(seed: int) -> None:
    """Some tasks shuffle their items or choices when they are loaded."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _load(source: ModelSource) -> Any:
    model = models.load_model(source)
    return model.to("cuda") if has_cuda() else model


def _engine(job: ArmJob, model: Any, tokenizer: Any) -> Engine:
    return VllmEngine(job) if job.backend == "vllm" else HfEngine(job, model, tokenizer)


def _speed(engine: Engine, prompts: list[list[int]]) -> float:
    """Output tokens per second with `SPEED_BATCH` answers at a time; the engine is warm from answering."""
    batch = [prompts[i % len(prompts)] for i in range(SPEED_BATCH)]
    start = time.monotonic()
    answers = engine.answer(batch, SPEED_TOKENS, exactly=True)
    return sum(map(len, answers)) / (time.monotonic() - start)


def _free_gpu() -> None:
    if has_cuda():
        import gc

        gc.collect()
        torch.cuda.empty_cache()


def _device() -> str:
    return str(torch.cuda.get_device_name()) if has_cuda() else "cpu"


def _die_with(parent: int) -> None:
    """End this process and its workers as soon as the one that started it is gone, even if that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(os.getpgrp(), signals.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def main(job_file: str, result_file: str, pipe: str, parent: str) -> int:
    """Run a job file; returns the exit code."""
    _die_with(int(parent))
    # In this process the engine starts in half the time, and nothing outlives it.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    with os.fdopen(int(pipe), "w", buffering=1) as lines:

        def tell(message: dict[str, Any]) -> None:
            print(json.dumps(message), file=lines)

        try:
            job = ArmJob.model_validate_json(Path(job_file).read_text(encoding="utf-8"))
            write_text(Path(result_file), measure(job, tell).model_dump_json())
        except PotstillError as error:
            tell({"error": str(error), "exit_code": error.exit_code})
            return error.exit_code
    return 0


if __name__ == "__main__":
    exit_code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The result is on disk; taking the engine apart would only cost seconds. `launch.py` ends what is left of it.
    os._exit(exit_code)
