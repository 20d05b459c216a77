"""The generate stage: prompts in, teacher-signal dataset out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from potstill import models
from potstill.background import Background
from potstill.console import console, progress, waiting
from potstill.files import write_text
from potstill.hardware import inference_dtype
from potstill.models import ModelSource
from potstill.recipe import Recipe
from potstill.signal import Coding, Settings, SignalInfo, SignalWriter, TeacherInfo, encode, open_signal, summarise
from potstill.vllm_engine import DEFAULT_CONTEXT, prepare, start_engine

from .capture import Answer, Failure, capture
from .jobs import Job, make_jobs, sampling_of
from .prompts import prompts_hash, read_prompts

SKIPPED = "skipped.jsonl"


def generate(recipe: Recipe, recipe_folder: Path, out: Path) -> SignalInfo:
    """Let the teacher answer the prompts, or score their answers, and store answers and log-probabilities in `out`.

    Answers that `out` holds already are not asked for again; those that cannot be had are listed with the reason in
    `out`/skipped.jsonl. Raises BadInput for prompts or a teacher that cannot be used, StageFailed when the engine
    dies again and again.
    """
    prompts = read_prompts(recipe.prompts, recipe_folder, scored=recipe.generate.mode == "score")
    teacher = recipe.teacher
    source = ModelSource(teacher.model, teacher.revision, teacher.trust_remote_code, teacher.dtype)
    tokenizer = models.load_tokenizer(source)
    config = models.load_config(source)
    limit = min(teacher.max_model_len or DEFAULT_CONTEXT, config.max_position_embeddings)
    jobs, skipped = make_jobs(prompts, tokenizer, recipe.generate, limit)
    settings = Settings(
        mode=recipe.generate.mode,
        teacher=_teacher_info(source, tokenizer, config),
        sampling=sampling_of(recipe.generate),
        coding=Coding(top_k=recipe.generate.top_k, **recipe.generate.store.model_dump()),
        seed=recipe.seed,
        engine=prepare(recipe.generate.kv_cache_gib),
        prompts_hash=prompts_hash(prompts),
        chat_template_kwargs=recipe.generate.chat_template_kwargs,
    )
    writer = SignalWriter(out, settings, recipe.generate.rows_per_shard)
    left_out = [{"prompt_index": one.prompt_index, "reason": one.reason} for one in skipped]
    missing = {job.request.id: job for job in jobs if job.request.id not in writer.done_ids}
    if missing:
        store = Store(writer, tokenizer, missing)
        left_out += _answer_all(recipe, source.path, store, done=len(jobs) - len(missing))
    _report_left_out(left_out, out)
    info = writer.finish()
    console.print(summarise(open_signal(out)).text())
    return info


class Store:
    """Turns answers into rows and hands them to the writer."""

    def __init__(self, writer: SignalWriter, tokenizer: Any, jobs: dict[str, Job]):
        self.jobs = jobs
        self._writer, self._tokenizer, self._settings = writer, tokenizer, writer.info.settings

    def add(self, answer: Answer) -> None:
        """Store one answer."""
        job = self.jobs[answer.id]
        settings = self._settings
        cells = encode(
            answer.topk_ids_NK,
            answer.topk_logprobs_NK,
            answer.sampled_logprob_N,
            settings.coding,
            settings.teacher.vocab_size,
            # The same draws for the same answer, however often the run was interrupted.
            np.random.default_rng([settings.seed, int(answer.id[:16], 16)]),
        )
        text = answer.response
        if text is None:
            text = job.prompt.response or self._tokenizer.decode(answer.response_ids, skip_special_tokens=True)
        row = {
            "id": answer.id,
            "messages": job.prompt.messages,
            "prompt_ids": job.request.prompt_ids,
            "response_ids": answer.response_ids,
            "response": text,
            **cells,
            "finish_reason": answer.finish_reason,
            "prompt_index": job.prompt.index,
            "sample_index": job.sample_index,
        }
        self._writer.add(job.prompt.split, row)

    def flush(self) -> None:
        """Commit what is stored so far."""
        self._writer.flush()


def _answer_all(recipe: Recipe, path: str, store: Store, done: int) -> list[dict[str, Any]]:
    """Ask for every answer; returns what could not be had."""
    failed = []
    try:
        # Rows are made and written behind the engine's back, which does not wait for a disk.
        answers = _answers(recipe, path, list(store.jobs.values()))
        with Background(store.add) as later, progress("Teacher answers", done + len(store.jobs), done) as advance:
            for found in answers:
                if isinstance(found, Failure):
                    failed.append({"prompt_index": store.jobs[found.id].prompt.index, "reason": found.reason})
                    advance()
                else:
                    later.put(found)
                    advance(tokens=len(found.response_ids))
    finally:
        # Also on Ctrl-C: what is finished need not be asked for again.
        store.flush()
    return failed


def _answers(recipe: Recipe, path: str, jobs: list[Job]) -> Iterator[Answer | Failure]:
    # The engine gets room for the longest request of this run, not for the model's whole context.
    context = max(job.request.tokens + job.request.max_tokens for job in jobs)

    def start() -> Any:
        return start_engine(recipe.teacher, recipe.generate, path, context, recipe.seed)

    def restart() -> Any:
        console.print("[yellow]vLLM stopped and is started again;[/] what is finished is kept")
        return start()

    with waiting("Starting vLLM"):
        llm = start()
    return capture(llm, restart, [job.request for job in jobs], recipe.generate)


def _teacher_info(source: ModelSource, tokenizer: Any, config: Any) -> TeacherInfo:
    identity = models.tokenizer_identity(tokenizer)
    dtype = inference_dtype(source.dtype)
    return TeacherInfo(
        model=source.model,
        revision=source.revision or getattr(config, "_commit_hash", None),
        fingerprint=models.weights_fingerprint(source.path),
        licence=models.licence(source.model),
        dtype=str(config.dtype).removeprefix("torch.") if dtype == "auto" else dtype,
        quantization=models.quantization(source.model, config),
        tokenizer_hash=identity.tokenizer_hash,
        chat_template_hash=identity.chat_template_hash,
        vocab_size=config.vocab_size,
    )


def _report_left_out(left_out: list[dict[str, Any]], out: Path) -> None:
    for entry in left_out[:3]:
        console.print(f"[yellow]Prompt {entry['prompt_index']} is left out:[/] {entry['reason']}", markup=True)
    if left_out:
        console.print(f"{len(left_out)} prompts left out; {out / SKIPPED} lists them")
        write_text(out / SKIPPED, "".join(json.dumps(entry) + "\n" for entry in left_out))
