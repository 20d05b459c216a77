"""Held-out KL of distillation against cross-entropy alone, at equal tokens.

Both sides train the same student on the same answers of the bundled teacher in the same order; only the loss differs.
The answers are those of the quickstart recipe, cut to the first `PROMPTS`; they and the trained students stay in
runs/benchmark-kd-vs-sft, so that a second call only measures.
"""

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from run import Figure, figure

RUNS = 5
PROMPTS = 200
ROOT = Path("runs/benchmark-kd-vs-sft")
COMMON = [f"prompts.limit={PROMPTS}", "train.save_steps=1000"]
LOSSES = {"kd": ("0.9", "0.1"), "sft": ("0", "1")}


def measure() -> Iterator[Figure]:
    """Train `RUNS` students with each loss, in turn, and compare their KL and perplexity on held-out answers."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in LOSSES}
    for seed in range(RUNS):
        for name in LOSSES:
            found[name].append(held_out(trained(name, seed)))
    for column, quantity, unit in ((0, "kl", "nat/token"), (1, "perplexity", "")):
        ours, peer = ([pair[column] for pair in found[name]] for name in ("kd", "sft"))
        yield figure(f"kd_vs_sft_{quantity}", unit, ours, peer, "lower")


def trained(name: str, seed: int) -> Path:
    """The student of one loss and one order of the data; all of them learn from the same answers."""
    signal = ROOT / "answers"
    potstill("generate", signal)
    folder = ROOT / f"{name}-{seed}"
    if not (folder / "generate").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "generate").symlink_to((signal / "generate").resolve())
    kd, sft = LOSSES[name]
    student = folder / "train" / "student"
    if not student.is_dir():
        from potstill.recipe_file import load_recipe
        from potstill.train import train_student

        settings = [*COMMON, f"train.kd.weight={kd}", f"train.sft_weight={sft}", f"seed={seed}"]
        train_student(load_recipe("quickstart", settings).recipe, folder / "generate", folder / "train")
    return folder


def potstill(stage: str, folder: Path) -> None:
    """Run one stage of the quickstart recipe."""
    options = [part for text in COMMON for part in ("-o", text)]
    command = [sys.executable, "-m", "potstill", stage, "quickstart", "--run-dir", str(folder), *options]
    subprocess.run(command, check=True)


def held_out(folder: Path) -> tuple[float, float]:
    """KL in nats per token and perplexity on the teacher's held-out answers."""
    from potstill import models
    from potstill.eval.fidelity import measure_fidelity
    from potstill.models import ModelSource
    from potstill.signal import open_signal

    signal = open_signal(folder / "generate")
    model = models.load_model(ModelSource(str(folder / "train" / "student"), dtype="float32"))
    rows = signal.dataset("held_out").to_list()
    items = measure_fidelity(model, signal, rows, batch_size=8)
    tokens = sum(item.tokens for item in items)
    # Each item holds sums over its tokens.
    return sum(item.kl for item in items) / tokens, math.exp(sum(item.nll for item in items) / tokens)
