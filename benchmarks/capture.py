"""Capturing speed: answers with 64 log-probabilities a token on disk, against plain generation and against objects.

All sides ask the same engine the same prompts with the same settings, in turn. Ours ends with the teacher-signal
dataset on disk; `plain` is `LLM.generate` without log-probabilities; `objects` is `LLM.generate` with its default
objects, made into a data set and written to Parquet.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from run import Figure, figure
from teacher_requests import teacher_jobs

RUNS = 5
TOP_K = 64
OPTIONS = ["prompts.limit=96", f"generate.top_k={TOP_K}", "generate.max_tokens=64"]


def measure() -> Iterator[Figure]:
    """Answer all prompts `RUNS` times on every side; prompts are tokenised and the engine is started before."""
    from potstill.vllm_engine import start_engine

    recipe, path, jobs = teacher_jobs(OPTIONS)
    requests = [job.request for job in jobs]
    llm = start_engine(recipe.teacher, recipe.generate, path, 512, 0)
    sides: dict[str, Callable[[], int]] = {
        "plain": lambda: _plain(llm, requests),
        "ours": lambda: _ours(llm, recipe, path, jobs),
        "objects": lambda: _objects(llm, requests),
    }
    speed: dict[str, list[float]] = {name: [] for name in sides}
    for work in sides.values():
        work()  # what is compiled or allocated on first use belongs to no side
    for _ in range(RUNS):
        for name, work in sides.items():
            started = time.perf_counter()
            tokens = work()
            speed[name].append(tokens / (time.perf_counter() - started))
    for peer in ("plain", "objects"):
        yield figure(f"capture_vs_{peer}", "token/s", speed["ours"], speed[peer], "higher")


def _ours(llm: Any, recipe: Any, path: str, jobs: list[Any]) -> int:
    """The generate stage's own path from the first request to the last shard, with an engine that runs already."""
    from potstill import models
    from potstill.generate import capture, stage
    from potstill.signal import Coding, Settings, SignalWriter, TeacherInfo

    capture.stop_engine = lambda _: None  # type: ignore[assignment]
    stage.start_engine = lambda *_: llm  # type: ignore[assignment]
    tokenizer = models.load_tokenizer(models.ModelSource(path))
    teacher = TeacherInfo(model=path, dtype="auto", tokenizer_hash="", vocab_size=len(tokenizer))
    coding = Coding(top_k=TOP_K)
    settings = Settings(teacher=teacher, sampling=None, coding=coding, seed=0, engine="", prompts_hash="")
    with tempfile.TemporaryDirectory() as folder:
        writer = SignalWriter(Path(folder), settings, recipe.generate.rows_per_shard)
        stage._answer_all(recipe, path, stage.Store(writer, tokenizer, {job.request.id: job for job in jobs}), 0)
        info = writer.finish()
        return info.tokens("train") + info.tokens("held_out")


def _plain(llm: Any, requests: list[Any]) -> int:
    return sum(len(output.outputs[0].token_ids) for output in _generate(llm, requests))


def _objects(llm: Any, requests: list[Any]) -> int:
    from datasets import Dataset

    rows = []
    for output in _generate(llm, requests, logprobs=TOP_K):
        tokens = [
            {"ids": list(position), "logprobs": [entry.logprob for entry in position.values()]}
            for position in output.outputs[0].logprobs
        ]
        rows.append({"prompt_ids": output.prompt_token_ids, "response_ids": output.outputs[0].token_ids, "top": tokens})
    with tempfile.TemporaryDirectory() as folder:
        Dataset.from_list(rows).to_parquet(f"{folder}/answers.parquet")
    return sum(len(row["response_ids"]) for row in rows)


def _generate(llm: Any, requests: list[Any], logprobs: int | None = None) -> Any:
    from vllm import SamplingParams

    from potstill.generate.rows import use_lists

    use_lists()
    sampling = SamplingParams(temperature=1.0, max_tokens=requests[0].max_tokens, logprobs=logprobs)
    prompts = [{"prompt_token_ids": request.prompt_ids} for request in requests]
    return llm.generate(prompts, sampling, use_tqdm=False)
