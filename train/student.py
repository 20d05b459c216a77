"""Make the student that training starts from."""

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import BaseModel, ConfigDict

from potstill import models
from potstill.console import waiting
from potstill.errors import BadInput
from potstill.files import write_text
from potstill.models import ModelSource
from potstill.recipe import Lora, Recipe
from potstill.recipe_student import FreshConfig, Prune
from potstill.signal import Signal

from .folders import whole_folder
from .narrow import narrow_config, narrow_model
from .prune import (
    block_importance,
    evenly_spaced_layers,
    keep_layers,
    most_important_layers,
    shorten_layer_lists,
)
from .width import Kept, measure_activity, most_active


class StudentRecord(BaseModel):
    """`student.json`: how the student was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Literal["prune", "model", "config"]
    source: str
    parameters: int
    layers: int
    kept_layers: tuple[int, ...] | None = None
    importance: tuple[float, ...] | None = None
    """Of every layer of the teacher."""
    kept_key_value_heads: tuple[tuple[int, ...], ...] | None = None
    """Per kept layer."""
    kept_intermediate: tuple[str, ...] | None = None
    """Feed-forward channels per kept layer, in runs such as `0-5 7 9-12`."""
    kept_hidden: str | None = None
    """Channels of the residual stream, in runs."""
    lora: Lora | None = None


@dataclass(frozen=True)
class _Start:
    """An untrained student; what it was cut from, if it was cut."""

    model: Any
    tokenizer: Any
    source: str
    kept_layers: tuple[int, ...] | None = None
    importance: tuple[float, ...] | None = None
    kept: Kept | None = None


def write_untrained_student(recipe: Recipe, signal: Signal, folder: Path, record: Path) -> None:
    """Write the untrained student as a complete model folder in bfloat16, and the file `record` about it.

    Raises BadInput when the recipe's student cannot be made or cannot learn from this signal.
    """
    with waiting("Making the student"):
        start = _start(recipe, signal)
    _require_rows(start.model, start.tokenizer, signal)
    model = start.model.to(torch.bfloat16)
    student = recipe.student
    kept = start.kept or Kept()
    about = StudentRecord(
        start="prune" if student.prune else "config" if student.config else "model",
        source=start.source,
        parameters=model.num_parameters(),
        layers=model.config.num_hidden_layers,
        kept_layers=start.kept_layers,
        importance=start.importance,
        kept_key_value_heads=kept.key_value_heads,
        kept_intermediate=kept.intermediate and tuple(map(_runs, kept.intermediate)),
        kept_hidden=kept.hidden and _runs(kept.hidden),
        lora=student.lora,
    )
    write_text(record, about.model_dump_json(indent=1) + "\n")
    with whole_folder(folder) as temporary:
        model.save_pretrained(temporary)
        start.tokenizer.save_pretrained(temporary)


def _start(recipe: Recipe, signal: Signal) -> _Start:
    student, teacher = recipe.student, recipe.teacher
    source = ModelSource(teacher.model, teacher.revision, teacher.trust_remote_code, "float32")
    if student.model is not None:
        source = ModelSource(student.model, student.revision, student.trust_remote_code, "float32")
    tokenizer = models.load_tokenizer(source)
    who = f"the student {source.model}" if student.model else f"`teacher.model` {source.model}"
    signal.require_tokenizer(models.tokenizer_identity(tokenizer), who)
    if student.prune is not None:
        return _pruned(source, tokenizer, student.prune, signal)
    if student.config is not None:
        return _Start(_fresh(source, student.config, recipe.seed), tokenizer, source.model)
    return _Start(models.load_model(source), tokenizer, source.model)


def _pruned(source: ModelSource, tokenizer: Any, prune: Prune, signal: Signal) -> _Start:
    config = models.load_config(source)
    layers = _layers(prune, config.num_hidden_layers, source.model)
    narrow_config(config, prune)
    model = models.load_model(source)
    importance = None
    if isinstance(layers, int):
        importance = block_importance(model, _calibration_answers(signal, prune))
        layers = most_important_layers(importance, layers)
    keep_layers(model, layers)
    kept = None
    if prune.narrows:
        # Measured on the layers that stay.
        activity = measure_activity(model, _calibration_answers(signal, prune), prune)
        kept = most_active(activity, prune, config)
        model = narrow_model(model, kept, activity, prune)
    return _Start(model, tokenizer, source.model, layers, importance, kept)


def _layers(prune: Prune, layers: int, teacher: str) -> int | tuple[int, ...]:
    """The layers that a recipe names or that follow from their number; the number where importance decides."""
    asked = prune.layers
    if asked is None:
        return tuple(range(layers))
    if isinstance(asked, tuple):
        if max(asked) >= layers:
            raise BadInput(
                f"`student.prune.layers` names layer {max(asked)}, the teacher {teacher} has layers 0 to {layers - 1}"
            )
        return asked
    if asked > layers:
        raise BadInput(f"`student.prune.layers` is {asked}, the teacher {teacher} has {layers}: lower it")
    return evenly_spaced_layers(layers, asked) if prune.method == "even" else asked


def _calibration_answers(signal: Signal, prune: Prune) -> Any:
    answers = signal.dataset("train")
    count = min(prune.calibration_answers, len(answers))
    # Spread over the whole dataset: answers are stored as they finish, so the first are the shortest.
    return answers.select(range(0, len(answers), len(answers) // count)[:count])


def _fresh(source: ModelSource, fresh: FreshConfig, seed: int) -> Any:
    from transformers import AutoModelForCausalLM, GenerationConfig, set_seed

    teacher = models.load_config(source)
    config = fresh_config(teacher, fresh)
    set_seed(seed)
    model = AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, trust_remote_code=source.trust_remote_code
    ).eval()
    # Older models come without the file; what follows from their configuration is in place already.
    with contextlib.suppress(OSError):
        model.generation_config = GenerationConfig.from_pretrained(source.path, revision=source.revision)
    return model


def fresh_config(teacher: Any, fresh: FreshConfig) -> Any:
    """The teacher's configuration with other sizes. Raises BadInput for sizes that do not fit together."""
    settings = copy.deepcopy(teacher.to_dict())
    changes = fresh.model_dump(exclude_none=True)
    if missing := [key for key in changes if key not in settings]:
        raise BadInput(f"`student.config`: a {teacher.model_type} model has no setting {missing[0]}")
    if "num_hidden_layers" in changes:
        shorten_layer_lists(settings, changes["num_hidden_layers"])
    settings.update(changes)
    width, heads = settings["hidden_size"], settings["num_attention_heads"]
    kv_heads = settings.get("num_key_value_heads") or heads
    if heads % kv_heads:
        raise BadInput(
            f"`student.config`: {heads} query heads cannot share {kv_heads} key-value heads evenly; "
            "set num_attention_heads to a multiple of num_key_value_heads"
        )
    # Where the teacher's heads split the width evenly, so do the student's; elsewhere their size stays.
    if settings.get("head_dim") in (None, teacher.hidden_size // teacher.num_attention_heads):
        if width % heads or width // heads % 2:
            raise BadInput(
                f"`student.config`: hidden_size {width} split among {heads} heads is {width / heads:g} each; "
                "it must be an even whole number"
            )
        if "head_dim" in settings:
            settings["head_dim"] = width // heads
    try:
        return type(teacher).from_dict(settings)
    except (ValueError, StrictDataclassError) as error:
        raise BadInput(f"`student.config` does not make a valid {teacher.model_type} model: {error}") from None


def _runs(numbers: Sequence[int]) -> str:
    """Ascending numbers with neighbours drawn together: `0-5 7 9-12`."""
    parts = np.split(np.asarray(numbers), np.flatnonzero(np.diff(numbers) > 1) + 1)
    return " ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _require_rows(model: Any, tokenizer: Any, signal: Signal) -> None:
    """Every id that the tokenizer makes or the signal names needs a row in the student's output layer."""
    rows, teacher_rows = (
        model.get_output_embeddings().weight.shape[0],
        signal.info.settings.teacher.vocab_size,
    )
    highest = max(tokenizer.get_vocab().values())
    if rows < teacher_rows:
        answers = signal.dataset("train")
        ids = (signal.decode(batch).topk_ids_NK for batch in _batches(answers))
        highest = max(highest, *(int(batch.max()) for batch in ids))
    if highest >= rows:
        raise BadInput(
            f"the student's output layer has {rows:,} rows, too few for token {highest:,} (the teacher has "
            f"{teacher_rows:,} rows). Choose a student whose vocabulary is at least as large."
        )


def _batches(dataset: Any, size: int = 256) -> Any:
    return (dataset.select(range(start, min(start + size, len(dataset)))) for start in range(0, len(dataset), size))
