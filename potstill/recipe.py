"""The recipe: everything a run can be told, as frozen models. The string below a field is its documentation.

Names that people know from TRL, PEFT and vLLM keep the meaning they have there. `recipe_file.py` reads YAML into
these models and words the errors.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from potstill.recipe_eval import Audit, Eval
from potstill.recipe_server import Server
from potstill.recipe_student import FreshConfig, Prune
from potstill.recipe_train import Train
from potstill.section import Section


class Teacher(Section):
    """The model whose behaviour the student learns."""

    model: str = "bundled:smollm2-135m-instruct"
    """Hub id, local folder, `.gguf` file, or `bundled:smollm2-135m-instruct`."""
    revision: str | None = None
    """Git revision on the hub; None for the newest, which the manifest then records."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format for inference."""
    max_model_len: int | None = Field(None, gt=0)
    """Longest prompt plus response in tokens; None for the model's own limit, at most 4,096."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Off unless you have read that code."""
    server: Server | None = None
    """Ask a server instead of starting an engine; `model` then names the tokenizer and chat template it uses. The
    evaluation asks it, too, as far as it tells."""


class Prompts(Section):
    """Where the prompts come from."""

    files: tuple[str, ...] = ()
    """JSONL, CSV or Parquet files; a relative path is looked up beside the recipe."""
    dataset: str | None = None
    """Or a data set on the Hugging Face hub."""
    dataset_config: str | None = None
    """Which configuration of `dataset`, where it has several."""
    dataset_split: str = "train"
    """Which split of `dataset`."""
    column: str | None = None
    """Column that holds the prompt (a string) or the conversation (`messages`); None: `messages`, else `prompt`."""
    system: str | None = None
    """System message put before every conversation that has none."""
    turns: Literal["last", "each"] = "last"
    """`last`: one answer at the end of a conversation; `each`: one at every place where the assistant speaks."""
    response_column: str = "response"
    """Column with the answer that is scored, beside a `prompt`; a conversation ends with it."""
    limit: int | None = Field(None, gt=0)
    """Use only the first N prompts."""
    held_out: float = Field(0.1, gt=0, lt=1)
    """Share of the prompts kept for evaluation; a hash of the prompt decides, so that it never moves."""

    @model_validator(mode="after")
    def _one_source(self) -> "Prompts":
        if bool(self.files) == bool(self.dataset):
            raise ValueError("give either `files` or `dataset`")
        return self


class Store(Section):
    """What is kept of the teacher's top-k log-probabilities. The defaults keep all of them in the fewest bytes."""

    codec: Literal["delta8", "f16"] = "delta8"
    """`delta8` rounds to what training cannot tell apart, `f16` keeps float16 for audits."""
    top_p: float | None = Field(None, gt=0, lt=1)
    """Keep per token only the ranks that this much probability needs; the rest joins the tail."""
    draws: int | None = Field(None, ge=1, le=65535)
    """Keep, instead of the ranks, how often each token came up in N random draws from them and the tail."""

    @model_validator(mode="after")
    def _one_reduction(self) -> "Store":
        if self.draws is not None and (self.top_p is not None or self.codec != "delta8"):
            raise ValueError("`draws` stores counts, which neither `top_p` nor another `codec` applies to")
        return self


class Generate(Section):
    """How the teacher answers and what is stored of each answer."""

    mode: Literal["answer", "score"] = "answer"
    """`answer`: the teacher writes; `score`: it only says how likely the answers are that the prompts bring along."""
    top_k: int = Field(64, ge=1, le=1024)
    """Log-probabilities captured per response token."""
    store: Store = Store()
    """What is kept of them."""
    temperature: float = Field(1.0, ge=0)
    """Sampling temperature of the answers. Stored log-probabilities are raw, at temperature 1, whatever this is."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling."""
    max_tokens: int = Field(512, ge=1)
    """Longest answer in tokens."""
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end an answer, beside the teacher's own end tokens."""
    chat_template_kwargs: dict[str, str | bool | int | float] = Field({})
    """Variables for the teacher's chat template, for instance `{enable_thinking: false}`."""
    samples_per_prompt: int = Field(1, ge=1)
    """Answers to each prompt."""
    rows_per_shard: int = Field(128, ge=1)
    """Answers per Parquet file. A killed run repeats at most the answers of its unfinished shard."""
    max_num_seqs: int = Field(64, ge=1)
    """Answers that vLLM writes at the same time."""
    gpu_memory_utilization: float = Field(0.85, gt=0, le=1)
    """Share of the GPU's memory that vLLM may take."""
    tensor_parallel_size: int = Field(1, ge=1)
    """GPUs the teacher is spread over."""
    kv_cache_gib: float = Field(1.0, gt=0)
    """Memory for vLLM's key-value cache on a machine without a GPU, in GiB."""
    score_tokens_in_flight: int = Field(16384, ge=1)
    """Tokens that are scored at the same time; their log-probabilities are outside vLLM's own memory budget."""


class Lora(Section):
    """Low-rank adapters, trained with PEFT and merged into the student at the end."""

    r: int = Field(16, ge=1)
    """Rank."""
    lora_alpha: int = Field(32, ge=1)
    """Scale; the adapter is multiplied by lora_alpha / r."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout inside the adapter."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Layers that get an adapter, as PEFT names them."""
    load_in_4bit: bool = False
    """QLoRA: keep the frozen weights in 4 bits (NF4, doubly quantised) while training; needs bitsandbytes."""
    save_adapter: bool = False
    """Also keep the adapter itself, beside the student that it is merged into."""


class Student(Section):
    """The model that is trained: exactly one of `model`, `prune` and `config`."""

    model: str | None = None
    """Hub id or local folder of a smaller model with the teacher's tokenizer."""
    revision: str | None = None
    """Git revision of `model` on the hub."""
    prune: Prune | None = None
    """Cut the student out of the teacher."""
    config: FreshConfig | None = None
    """Start from random weights."""
    lora: Lora | None = None
    """Train low-rank adapters instead of all weights."""
    trust_remote_code: bool = False
    """Run Python code that comes with `model`."""

    @model_validator(mode="after")
    def _one_start(self) -> "Student":
        if sum(x is not None for x in (self.model, self.prune, self.config)) != 1:
            raise ValueError("give exactly one of `model`, `prune` and `config`")
        return self


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class Recipe(Section):
    """One distillation run."""

    name: Name
    """Name of the run; its results go to runs/<name>."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of sampling, initialisation, data order and item choice."""
    teacher: Teacher = Teacher()
    """The model to learn from."""
    prompts: Prompts
    """What the teacher is asked."""
    audit: Audit | None = None
    """What the teacher must be for anything to be generated."""
    generate: Generate = Generate()
    """How it answers."""
    student: Student
    """The model to train."""
    train: Train = Train()
    """How it is trained."""
    eval: Eval = Eval()
    """How the result is judged."""
