"""kill -9 anywhere, then the same command: what an uninterrupted run yields, and no finished judgement asked again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import write_world
from tests.pipeline.test_run import artifacts

COMMAND = [sys.executable, "-m", "rlaif"]
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
    (tmp_path / "counting.py").write_text(COUNTING)
    rows = [f'{{"id": "{i}", "prompt": "q{i}", "responses": ["a reply {i}", "b"]}}\n' for i in range(400)]
    (tmp_path / "pairs.jsonl").write_text("".join(rows))
    arguments = ["label", "--constitution", "hhh", "--pairs", "pairs.jsonl"]
    arguments += ["--critic", "scripted:counting:critic", "--out", "out"]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE)
    while not (tmp_path / "asked").exists() or len((tmp_path / "asked").read_text()) < 2 * 600:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    asked = len((tmp_path / "asked").read_text().split())
    assert "cached 512" in done.stderr
    assert 800 <= asked <= 800 + 256  # the chunk in flight is all that is paid again
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
    assert kills > 1
    assert artifacts(tmp_path / "torn") == artifacts(tmp_path / "whole")
