"""The generate stage: prompts in, teacher-signal dataset out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill import models
from potstill.console import console, progress
from potstill.errors import BadInput
from potstill.files import write_text
from potstill.hardware import inference_dtype
from potstill.models import ModelSource
from potstill.recipe import Recipe
from potstill.signal import SPLITS, Sampling, Settings, SignalInfo, SignalWriter, TeacherInfo, encode, row_id
from potstill.vllm_engine import DEFAULT_CONTEXT, prepare, start_engine

from .capture import Answer, Request, capture
from .prompts import Prompt, prompts_hash, read_prompts

SKIPPED = "skipped.jsonl"


@dataclass(frozen=True)
class _Job:
    """A request with what its row needs."""

    request: Request
    prompt: Prompt
    sample_index: int


def generate(recipe: Recipe, recipe_folder: Path, out: Path) -> SignalInfo:
    """Let the teacher answer the prompts and store answers and log-probabilities in `out`.

    Answers that `out` holds already are not asked for again. Raises BadInput for prompts or a teacher that cannot be
    used, StageFailed when the engine dies.
    """
    prompts = read_prompts(recipe.prompts, recipe_folder)
    teacher = recipe.teacher
    source = ModelSource(teacher.model, teacher.revision, teacher.trust_remote_code, teacher.dtype)
    tokenizer = models.load_tokenizer(source)
    config = models.load_config(source)
    limit = min(teacher.max_model_len or DEFAULT_CONTEXT, config.max_position_embeddings)
    sampling = Sampling(**recipe.generate.model_dump(include=set(Sampling.model_fields)))
    jobs, skipped = _jobs(prompts, tokenizer, sampling, limit)
    settings = Settings(
        teacher=_teacher_info(source, tokenizer, config),
        sampling=sampling,
        top_k=recipe.generate.top_k,
        seed=recipe.seed,
        engine=prepare(recipe.generate.kv_cache_gib),
        prompts_hash=prompts_hash(prompts),
    )
    writer = SignalWriter(out, settings, recipe.generate.rows_per_shard)
    _report_skipped(skipped, out)
    missing = {job.request.id: job for job in jobs if job.request.id not in writer.done_ids}
    if missing:
        _answer_all(recipe, source.path, missing, writer, tokenizer, done=len(jobs) - len(missing))
    return writer.finish()


def _answer_all(
    recipe: Recipe, path: str, missing: dict[str, _Job], writer: SignalWriter, tokenizer: Any, done: int
) -> None:
    # The engine gets room for the longest request of this run, not for the model's whole context.
    context = max(len(job.request.prompt_ids) + job.request.max_tokens for job in missing.values())
    with console.status("Starting vLLM"):
        llm = start_engine(recipe.teacher, recipe.generate, path, context, recipe.seed)
    requests = [job.request for job in missing.values()]
    try:
        with progress("Teacher answers", done + len(missing), done) as advance:
            for answer in capture(llm, requests, recipe.generate):
                job = missing[answer.id]
                writer.add(job.prompt.split, _row(job, answer, tokenizer, writer.info.settings.teacher.vocab_size))
                advance(tokens=len(answer.response_ids))
    finally:
        # Also on Ctrl-C: what is finished need not be asked for again.
        writer.flush()


def _jobs(
    prompts: list[Prompt], tokenizer: Any, sampling: Sampling, limit: int
) -> tuple[list[_Job], list[dict[str, Any]]]:
    if tokenizer.chat_template is None:
        raise BadInput("the teacher's tokenizer has no chat template; choose a chat (instruct) model as the teacher")
    jobs, skipped = [], []
    for prompt in prompts:
        ids = tokenizer.apply_chat_template(prompt.messages, add_generation_prompt=True, return_dict=False)
        room = limit - len(ids)
        if room < 1:
            reason = f"{len(ids)} tokens, the teacher's context holds {limit}"
            skipped.append({"prompt_index": prompt.index, "reason": reason})
            continue
        for sample in range(sampling.samples_per_prompt):
            request = Request(row_id(prompt.messages, sampling, sample), ids, min(sampling.max_tokens, room))
            jobs.append(_Job(request, prompt, sample))
    if not jobs:
        raise BadInput(f"every prompt is longer than the teacher's context; the first has {skipped[0]['reason']}")
    for split in SPLITS:
        if not any(job.prompt.split == split for job in jobs):
            raise BadInput(
                f"none of the {len(prompts)} prompts falls into the {split} split, which the run needs: give more "
                "prompts, or change `prompts.held_out`"
            )
    return jobs, skipped


def _row(job: _Job, answer: Answer, tokenizer: Any, vocab_size: int) -> dict[str, Any]:
    cells = encode(answer.topk_ids_NK, answer.topk_logprobs_NK, answer.sampled_logprob_N, vocab_size)
    return {
        "id": answer.id,
        "messages": job.prompt.messages,
        "prompt_ids": job.request.prompt_ids,
        "response_ids": answer.response_ids,
        "response": tokenizer.decode(answer.response_ids, skip_special_tokens=True),
        **vars(cells),
        "finish_reason": answer.finish_reason,
        "prompt_index": job.prompt.index,
        "sample_index": job.sample_index,
    }


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


def _report_skipped(skipped: list[dict[str, Any]], out: Path) -> None:
    for entry in skipped[:3]:
        console.print(f"[yellow]Prompt {entry['prompt_index']} is left out:[/] {entry['reason']}")
    if skipped:
        console.print(f"{len(skipped)} prompts left out; {out / SKIPPED} lists them")
        write_text(out / SKIPPED, "".join(json.dumps(entry) + "\n" for entry in skipped))
