"""How large the teacher and the student are, counted on models without weights."""

import re
from dataclasses import dataclass
from typing import Any

from potstill import models
from potstill.errors import BadInput
from potstill.models import ModelSource
from potstill.recipe import Lora, Recipe
from potstill.recipe_student import Prune

WIDTHS = ("hidden_size", "intermediate_size", "num_key_value_heads")


@dataclass(frozen=True)
class ModelSize:
    """What memory and time of a model depend on."""

    parameters: int
    head: int
    """Entries of the output layer, which may be the embedding as well."""
    tied: bool
    blocks: int
    """Entries of the matrices in the blocks."""
    active: int
    """Those of them that one token is multiplied with; fewer than all in a mixture of experts."""
    adapters: int
    """Entries of the LoRA adapters; 0 without."""
    layers: int
    hidden: int
    intermediate: int
    """Feed-forward channels that a token goes through."""
    query: int
    key_value: int
    """Width of the keys, and again of the values."""
    vocabulary: int
    weight_bytes: float
    """Bytes of a weight as it is stored for inference."""


def teacher_size(recipe: Recipe) -> ModelSize | None:
    """The teacher's size; None where its configuration cannot be read here."""
    config = _config(_teacher(recipe))
    return config and measure(config, recipe.teacher.trust_remote_code)


def student_size(recipe: Recipe) -> ModelSize | None:
    """The student's size, adapters included; None where the configuration that it starts from cannot be read here."""
    student = recipe.student
    if student.model is not None:
        source = ModelSource(student.model, student.revision, student.trust_remote_code)
    else:
        source = _teacher(recipe)
    config = _config(source)
    if config is None:
        return None
    if student.prune is not None:
        config = _changed(config, prune_changes(student.prune, config))
    elif student.config is not None:
        config = _changed(config, _fresh_changes(student.config.model_dump(exclude_none=True), config))
    return measure(config, source.trust_remote_code, student.lora)


def prune_changes(prune: Prune, teacher: Any) -> dict[str, int]:
    """What cutting changes in the teacher's configuration."""
    given = prune.model_dump(exclude_none=True)
    changes: dict[str, int] = {key: given[key] for key in WIDTHS if key in given}
    if "layers" in given:
        layers = given["layers"]
        changes["num_hidden_layers"] = layers if isinstance(layers, int) else len(layers)
    if changes.keys() & WIDTHS:
        # Heads are cut whole, a key-value head together with the query heads that share it.
        heads = teacher.num_attention_heads
        shared = heads // (getattr(teacher, "num_key_value_heads", None) or heads)
        changes["head_dim"] = _head_dim(teacher)
        changes["num_attention_heads"] = shared * changes.get("num_key_value_heads", heads // shared)
    return changes


def measure(config: Any, trust_remote_code: bool = False, lora: Lora | None = None) -> ModelSize:
    """Build the model of a configuration without weights and count."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    text = config.get_text_config()
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    matrices = {
        n: p.numel() for n, p in model.named_parameters() if p.ndim > 1 and p is not head and p is not embedding
    }
    used = getattr(text, "num_experts_per_tok", None) or 1
    experts = getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None) or used
    idle = sum(count for name, count in matrices.items() if "experts" in name) * (1 - used / experts)
    head_dim, heads = _head_dim(text), text.num_attention_heads
    return ModelSize(
        parameters=model.num_parameters(),
        head=head.numel(),
        tied=head is embedding,
        blocks=sum(matrices.values()),
        active=round(sum(matrices.values()) - idle),
        adapters=_adapters(model, head, lora) if lora else 0,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=_intermediate(text) * used,
        query=heads * head_dim,
        key_value=(getattr(text, "num_key_value_heads", None) or heads) * head_dim,
        vocabulary=head.shape[0],
        weight_bytes=_weight_bytes(config),
    )


def _teacher(recipe: Recipe) -> ModelSource:
    return ModelSource(recipe.teacher.model, recipe.teacher.revision, recipe.teacher.trust_remote_code)


def _config(source: ModelSource) -> Any:
    try:
        return models.load_config(source)
    except BadInput:
        return None


def _fresh_changes(given: dict[str, int], teacher: Any) -> dict[str, int]:
    """Where the teacher's heads split the width evenly, so do the student's; elsewhere their size stays."""
    even = getattr(teacher, "head_dim", None) == teacher.hidden_size // teacher.num_attention_heads
    if not even:
        return given
    width, heads = (given.get(key) or getattr(teacher, key) for key in ("hidden_size", "num_attention_heads"))
    return given | {"head_dim": width // heads}


def _changed(teacher: Any, changes: dict[str, int]) -> Any:
    from huggingface_hub.errors import StrictDataclassError

    settings = teacher.to_dict()
    layers = changes.get("num_hidden_layers", teacher.num_hidden_layers)
    for key, value in settings.items():
        if "layer" in key and isinstance(value, list) and len(value) == teacher.num_hidden_layers:
            settings[key] = value[:layers]
    try:
        return type(teacher).from_dict(settings | changes)
    except (ValueError, StrictDataclassError) as error:
        why = error.__cause__ or error
        raise BadInput(f"`student` does not make a valid {teacher.model_type} model: {why}") from None


def _adapters(model: Any, head: Any, lora: Lora) -> int:
    return sum(
        lora.r * sum(module.weight.shape)
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
        and type(module).__name__ in ("Linear", "Conv1D")
        and _is_target(name, module.weight is head, lora.target_modules)
    )


def _is_target(name: str, is_head: bool, targets: str | tuple[str, ...]) -> bool:
    if targets == "all-linear":
        return not is_head
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _intermediate(config: Any) -> int:
    for key in ("moe_intermediate_size", "intermediate_size"):
        if isinstance(width := getattr(config, key, None), int):
            return width
    return 4 * int(config.hidden_size)


def _weight_bytes(config: Any) -> float:
    """Two, or what the configuration says about quantised weights."""
    quantized = getattr(config, "quantization_config", None)
    if not isinstance(quantized, dict):
        return 2.0
    if quantized.get("quant_method") == "fp8":
        return 1.0
    bits = quantized.get("bits") or (4 if quantized.get("load_in_4bit") else 8 if quantized.get("load_in_8bit") else 16)
    return float(bits) / 8
