"""A run that is killed again and again, at moments that nobody chose, loses nothing and stores nothing twice.

Takes a few minutes and is therefore not part of the default run: `make crashes`.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from potstill.signal import open_signal, verify

KILLS = 24
PROMPTS = 160
OVERRIDES = {
    "prompts.limit": PROMPTS,
    "generate": "{top_k: 16, max_tokens: 24, rows_per_shard: 3, max_num_seqs: 4}",
}

pytestmark = [pytest.mark.crashes, pytest.mark.timeout(1800)]


def start(folder: Path) -> subprocess.Popen[str]:
    options = [part for key, value in OVERRIDES.items() for part in ("-o", f"{key}={value}")]
    command = [sys.executable, "-m", "potstill", "generate", "quickstart", "--run-dir", str(folder), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def stored(folder: Path) -> dict[str, bytes]:
    """Every shard that is there in full, by its name."""
    return {path.name: path.read_bytes() for path in (folder / "generate").glob("*.parquet")}


def test_kill_9_at_random_moments(teacher: str, tmp_path: Path) -> None:
    rng = random.Random(0)
    folder = tmp_path / "run"
    before: dict[str, bytes] = {}
    killed = killed_at_work = 0
    for _ in range(KILLS):
        process = start(folder)
        had = len(before)
        deadline = time.monotonic() + rng.uniform(0.5, 4)
        # Half of the kills hit a run that starts, the other half one that writes.
        if rng.random() < 0.5:
            while len(stored(folder)) <= had and process.poll() is None:
                time.sleep(0.01)
            deadline = time.monotonic() + rng.uniform(0, 1.5)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        now = stored(folder)
        assert {name: now.get(name) for name in before} == before, "a finished shard was touched"
        killed_at_work += len(now) > had
        before = now
    process = start(folder)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert list(verify(folder / "generate")) == []
    info = open_signal(folder / "generate").info
    assert info.rows("train") + info.rows("held_out") == PROMPTS
    assert {name: stored(folder)[name] for name in before} == before
    print(f"{killed} kills, {killed_at_work} of them after new answers were stored")
    assert killed >= 20
    assert killed_at_work >= 5
