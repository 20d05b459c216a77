"""Speed and memory of training, against TRL's SFTTrainer and its GKDTrainer with a live teacher.

All sides train the same student, half of the bundled teacher's layers, on the same answers with the same batch size,
optimiser and number formats. Tokens are response tokens; memory is what training takes at its peak for model, optimiser
and batch together, beyond libraries. Of SFTTrainer's two layouts of a batch, padded or padding-free, the faster counts.
GKDTrainer learns from the answers of the dataset (`lmbda` 0) and gets the teacher's logits from the live teacher.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

from answers import answers
from own_process import measured
from run import Figure, figure

RUNS = 5
SIDE = str(Path(__file__).with_name("training_step_side.py"))
STUDENT = Path("runs/benchmark-step/even-15")
SFT = ("sft_padded", "sft_padding_free")
SIDES = ("ours_beta0", "ours_beta05", *SFT, "gkd_beta0", "gkd_beta05")


def measure() -> Iterator[Figure]:
    """Train with every trainer `RUNS` times, each time in a process of its own, in turn."""
    folders = prepared()
    found: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for _ in range(RUNS):
        for side in SIDES:
            found[side].append(measured(SIDE, side, *folders))
    fastest = max(SFT, key=lambda side: statistics.median(speed for speed, _ in found[side]))
    for name, own, peer in (
        ("step_vs_sft", "ours_beta0", fastest),
        ("step_vs_gkd_beta0", "ours_beta0", "gkd_beta0"),
        ("step_vs_gkd_beta05", "ours_beta05", "gkd_beta05"),
    ):
        quantities = (("speed", "token/s", "higher"), ("memory", "MiB", "lower"))
        for column, (quantity, unit, better) in enumerate(quantities):
            ours, other = ([run[column] for run in found[side]] for side in (own, peer))
            yield figure(f"{name}_{quantity}", unit, ours, other, better)


def prepared() -> tuple[str, str]:
    """The folders of the teacher's answers and of the student; made once."""
    signal = answers()
    if not STUDENT.is_dir():
        STUDENT.parent.mkdir(parents=True, exist_ok=True)
        from potstill.recipe_file import load_recipe
        from potstill.train.student import write_untrained_student

        recipe = load_recipe("quickstart", ["student.prune.method=even", "student.prune.layers=15"]).recipe
        write_untrained_student(recipe, signal, STUDENT, STUDENT.with_suffix(".json"))
    return str(signal.folder), str(STUDENT)
