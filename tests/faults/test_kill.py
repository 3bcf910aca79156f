"""kill -9 anywhere, then the same command: what an uninterrupted run yields, and no finished judgement asked again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import write_world
from tests.pipeline.test_run import artifacts

COMMAND = [sys.executable, "-m", "rlaif"]
BLOCK = 280  # questions asked together: 256, and those about the canaries among them
COUNTING = """
import os, time
from rlaif.testing.scripts import prefers_longer

def critic(messages, options):
    with open(os.environ["ASKED"], "a") as asked:
        asked.write("x\\n")
    time.sleep(0.002)
    return prefers_longer(messages, options)
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "ASKED": str(folder / "asked"), "PYTHONPATH": os.getcwd()}


def killed(arguments: list[str], folder: Path, after: float) -> bool:
    """Start the command, kill it after some seconds; whether it was still running."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        process.communicate(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True


def test_labelling_asks_nothing_twice_that_was_stored(tmp_path: Path) -> None:
    """The resumed run starts where the part files are noted to be good, and asks only what the store does not hold."""
    (tmp_path / "counting.py").write_text(COUNTING)
    rows = [f'{{"id": "{i}", "prompt": "q{i}", "responses": ["a reply {i}", "b"]}}\n' for i in range(400)]
    (tmp_path / "pairs.jsonl").write_text("".join(rows))
    arguments = ["label", "--constitution", "hhh", "--pairs", "pairs.jsonl", "--set", "canaries=0.1"]
    arguments += ["--critic", "scripted:counting:critic", "--out", "out"]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE)
    while not (tmp_path / "asked").exists() or len((tmp_path / "asked").read_text()) < 2 * 600:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # Two blocks of 256 questions sleep for more than the second after which progress is noted.
    noted = json.loads((tmp_path / "out/progress.json").read_text())["tally"]["judgements"]
    assert noted > 0 and not (tmp_path / "out/labels.jsonl").exists()
    paid = len((tmp_path / "asked").read_text().split())
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    asked = len((tmp_path / "asked").read_text().split())
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["judgements"] > 800  # the canaries' too
    assert summary["judgements"] <= asked <= summary["judgements"] + BLOCK  # what was in flight is all that is lost
    cached = int(re.findall(r"cached (\d+)", done.stderr)[-1])
    assert noted + cached + (asked - paid) == summary["judgements"]
    uninterrupted = [*arguments[:-1], "whole"]
    subprocess.run([*COMMAND, *uninterrupted], cwd=tmp_path, env=environment(tmp_path), check=True, capture_output=True)
    assert artifacts(tmp_path / "out") == artifacts(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_again_and_again_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    write_world(tmp_path)
    chance = random.Random(0)
    begun = time.monotonic()
    whole = subprocess.run(
        [*COMMAND, "run", "run.yaml", "--out", "whole"], cwd=tmp_path, env=environment(tmp_path), capture_output=True
    )
    took = time.monotonic() - begun  # what a kill is timed by: this machine's speed, whatever it is
    assert whole.returncode == 0, whole.stderr
    kills = 0
    while killed(["run", "run.yaml", "--out", "torn"], tmp_path, took * chance.uniform(0.3, 0.6 + 0.1 * kills)):
        kills += 1
    assert kills >= 1
    assert artifacts(tmp_path / "torn") == artifacts(tmp_path / "whole")
