"""What a run would do, before it does anything: stages, tokens, bytes, parameters and memory."""

from typing import Any

from rich.table import Table

from potstill import models
from potstill.console import console
from potstill.errors import BadInput
from potstill.models import ModelSource
from potstill.pipeline import states
from potstill.recipe import Recipe
from potstill.run import Run

# Measured on SmolLM2-135M; ids of larger vocabularies take a third more.
BYTES_PER_TOKEN_AND_RANK = 2.3
# Weights, gradients and two moments of AdamW in float32.
TRAINING_BYTES_PER_PARAMETER = 16


def show_plan(run: Run) -> None:
    """Print the plan of a run. What a machine without the hub cannot know is said to be unknown."""
    recipe = run.loaded.recipe
    console.print(f"[bold]{recipe.name}[/]  {run.loaded.path}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    for stage, state in states(run).items():
        table.add_row(stage, state)
    for name, value in _estimates(run).items():
        table.add_row(name, value)
    console.print(table)


def _estimates(run: Run) -> dict[str, str]:
    recipe = run.loaded.recipe
    answers = _answers(run)
    teacher = _parameters(recipe, student=False)
    student = _parameters(recipe, student=True)
    found = {
        "teacher": _millions(teacher),
        "student": _millions(student),
        "answers": "unknown until the data set is read" if answers is None else f"{answers:,}",
    }
    if answers is not None:
        tokens = answers * recipe.generate.max_tokens
        found["response tokens"] = f"at most {tokens:,}"
        found["dataset"] = f"at most {tokens * recipe.generate.top_k * BYTES_PER_TOKEN_AND_RANK / 1e6:,.0f} MB"
    if student is not None and recipe.student.lora is None:
        found["training memory"] = f"{student * TRAINING_BYTES_PER_PARAMETER / 2**30:,.1f} GiB, plus activations"
    return found


def _answers(run: Run) -> int | None:
    prompts = run.loaded.recipe.prompts
    each = run.loaded.recipe.generate.samples_per_prompt
    if prompts.files:
        from potstill.generate.prompts import read_prompts

        scored = run.loaded.recipe.generate.mode == "score"
        return each * len(read_prompts(prompts, run.loaded.folder, scored))
    return None if prompts.limit is None else each * prompts.limit


def _parameters(recipe: Recipe, student: bool) -> int | None:
    """Parameters of the teacher or the student, counted on a model without weights; None where nobody can tell."""
    own = recipe.student.model if student else None
    source = ModelSource(own or recipe.teacher.model, recipe.student.revision if own else recipe.teacher.revision)
    try:
        config = models.load_config(source)
    except BadInput:
        return None
    if student and (prune := recipe.student.prune):
        from potstill.train.narrow import narrow_config

        config = narrow_config(config, prune)
        layers = len(prune.layers) if isinstance(prune.layers, tuple) else prune.layers or config.num_hidden_layers
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    if student and recipe.student.config:
        config.update(recipe.student.config.model_dump(exclude_none=True))
    return _count(config)


def _count(config: Any) -> int:
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights():
        return int(AutoModelForCausalLM.from_config(config).num_parameters())


def _millions(parameters: int | None) -> str:
    return "unknown: the model cannot be read here" if parameters is None else f"{parameters / 1e6:,.0f} M parameters"
