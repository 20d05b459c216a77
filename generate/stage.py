"""The generate stage: prompts in, teacher-signal dataset out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from potstill import models
from potstill.background import Background
from potstill.console import console, progress, waiting
from potstill.errors import BadInput
from potstill.files import write_text
from potstill.models import ModelSource
from potstill.recipe import Recipe
from potstill.signal import Coding, Settings, SignalInfo, SignalWriter, encode, open_signal, summarise
from potstill.vllm_engine import DEFAULT_CONTEXT, prepare, start_engine

from .capture import Answer, Failure, capture
from .identity import local_teacher, served_teacher
from .jobs import Job, make_jobs, response_ids, sampling_of
from .prompts import prompts_hash, read_prompts
from .server import capture_from_server, look_at_server

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
    if teacher.server is None:
        info, engine, logprobs = local_teacher(source, tokenizer, config), prepare(recipe.generate.kv_cache_gib), True
    else:
        way = look_at_server(teacher.server, jobs[0].request, recipe.generate, _texts_suffice(recipe))
        info, engine, logprobs = (
            served_teacher(source, tokenizer, config, way),
            "OpenAI-compatible server",
            way.logprobs,
        )
    coding = Coding(top_k=recipe.generate.top_k, **recipe.generate.store.model_dump())
    settings = Settings(
        mode=recipe.generate.mode,
        teacher=info,
        sampling=sampling_of(recipe.generate),
        coding=coding if logprobs else Coding(top_k=0),
        seed=recipe.seed,
        engine=engine,
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
    finished = writer.finish()
    console.print(summarise(open_signal(out)).text())
    return finished


def _texts_suffice(recipe: Recipe) -> bool:
    """Whether answers without log-probabilities are of use."""
    return recipe.train.kd.weight == 0


class Store:
    """Turns answers into rows and hands them to the writer."""

    def __init__(self, writer: SignalWriter, tokenizer: Any, jobs: dict[str, Job]):
        self.jobs = jobs
        self._writer, self._tokenizer, self._settings = writer, tokenizer, writer.info.settings

    def add(self, answer: Answer) -> None:
        """Store one answer. Raises BadInput when its tokens cannot be those of the teacher's tokenizer."""
        job, settings = self.jobs[answer.id], self._settings
        if settings.top_k == 0:
            answer = self._with_tokens(answer)
        elif answer.response is not None:
            self._require_spelling(answer)
        cells = encode(
            answer.topk_ids_NK,
            answer.topk_logprobs_NK,
            answer.sampled_logprob_N,
            settings.coding,
            settings.teacher.vocab_size,
            # The same draws for the same answer, however often the run was interrupted.
            np.random.default_rng([settings.seed, int(answer.id[:16], 16)]),
        )
        # A server leaves out a last character that was cut; what is stored is what the tokens spell, as without one.
        text = answer.response if settings.top_k == 0 else None
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

    def _with_tokens(self, answer: Answer) -> Answer:
        """An answer that came as text alone, with the tokens that the teacher's tokenizer makes of it."""
        ids = response_ids(self._tokenizer, answer.response or "")
        if answer.finish_reason == "length":
            ids = ids[:-1]  # it was cut and has no end
        nothing = np.zeros((len(ids), 0), np.float32)
        unknown = np.full(len(ids), np.nan, np.float32)
        return replace(
            answer,
            response_ids=ids,
            topk_ids_NK=nothing.astype(np.int32),
            topk_logprobs_NK=nothing,
            sampled_logprob_N=unknown,
        )

    def _require_spelling(self, answer: Answer) -> None:
        """A server may have another tokenizer than the recipe names; then its ids mean other text."""
        ours = self._tokenizer.decode(answer.response_ids, skip_special_tokens=True)
        # The last character may be cut in the middle.
        if ours.rstrip("\ufffd").strip() != (answer.response or "").rstrip("\ufffd").strip():
            raise BadInput(
                f"the server's token ids do not spell its text with the tokenizer of {self._settings.teacher.model}: "
                "`teacher.model` must name the model that the server runs"
            )

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
    requests = [job.request for job in jobs]
    if recipe.teacher.server is not None:
        return capture_from_server(recipe.teacher.server, requests, recipe.generate, _texts_suffice(recipe))
    # The engine gets room for the longest request of this run, not for the model's whole context.
    context = max(request.tokens + request.max_tokens for request in requests)

    def start() -> Any:
        return start_engine(recipe.teacher, recipe.generate, path, context, recipe.seed)

    def restart() -> Any:
        console.print("[yellow]vLLM stopped and is started again;[/] what is finished is kept")
        return start()

    with waiting("Starting vLLM"):
        llm = start()
    return capture(llm, restart, requests, recipe.generate)


def _report_left_out(left_out: list[dict[str, Any]], out: Path) -> None:
    for entry in left_out[:3]:
        console.print(f"[yellow]Prompt {entry['prompt_index']} is left out:[/] {escape(entry['reason'])}")
    if left_out:
        console.print(f"{len(left_out)} prompts left out; {out / SKIPPED} lists them")
        write_text(out / SKIPPED, "".join(json.dumps(entry) + "\n" for entry in left_out))
