"""Two processes that train together over gloo: the weights of one process, and one end for both."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file

from rlaif.records import metrics
from tests.pipeline.conftest import write_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Scores nothing; notes who scored what; and fails, or kills its own process, where it is told to.
PLANTED = """
import json, os, signal

def note(messages, text, meta):
    rank = os.environ.get("RANK", "0")
    with open(f"scored-{rank}.jsonl", "a") as file:
        file.write(json.dumps([messages[-1]["content"], text]) + "\\n")
        file.flush()
        scored = sum(1 for _ in open(file.name))
    if rank == "1" and os.environ.get("PLANT") == "error":
        raise ValueError("planted")
    if rank == "1" and os.environ.get("PLANT") == "kill" and scored > 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.0
"""
TERMS = "rewards: [{kind: model}, {kind: function, function: 'planted:note', weight: 0.0}]"


class Ended(NamedTuple):
    code: int
    said: str


def launch(folder: Path, *arguments: str, size: int = 2, plant: str = "") -> list[Ended]:
    """Each process's end; they are started as a launcher does it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    shared = {**os.environ, "PYTHONPATH": os.getcwd(), "PLANT": plant, **(group if size > 1 else {})}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "rlaif", *arguments],
            cwd=folder,
            env={**shared, **({"RANK": str(rank), "LOCAL_RANK": str(rank)} if size > 1 else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    said = [process.communicate(timeout=600)[0] for process in started]
    return [Ended(process.returncode, text) for process, text in zip(started, said, strict=True)]


def scored(folder: Path, rank: int) -> Counter[str]:
    """What a process scored since it was last asked."""
    file = folder / f"scored-{rank}.jsonl"
    rows = file.read_text().splitlines()
    file.unlink()
    return Counter(rows)


def apart(one: Path, other: Path) -> float:
    """The largest difference of two models' weights."""
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, `one`, up to the policy, and its copy `labelled`, up to the labels."""
    folder = tmp_path_factory.mktemp("processes")
    path = write_world(folder)
    path.write_text(path.read_text().replace("policy: {engine", f"policy: {{{TERMS}, engine"))
    (folder / "planted.py").write_text(PLANTED)
    (alone,) = launch(folder, "policy", "run.yaml", "--out", "one", size=1)
    assert alone.code == 0, alone.said
    for name in ("labelled", "rewarded"):
        shutil.copytree(folder / "one", folder / name)
        manifest = json.loads((folder / name / "manifest.json").read_text())
        for stage in ("reward", "policy") if name == "labelled" else ("policy",):
            del manifest["stages"][stage]
            shutil.rmtree(folder / name / stage)
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_reward_model_and_ppo_have_the_weights_of_one_process(world: Path) -> None:
    whole = scored(world, 0)
    main, other = launch(world, "policy", "run.yaml", "--out", "labelled")
    assert (main.code, other.code) == (0, 0), main.said + other.said
    assert other.said == ""  # one process reports
    for stage in ("reward", "policy"):
        assert apart(world / "one" / stage / "model", world / "labelled" / stage / "model") < 1e-6
        assert apart(world / "one/sft/model", world / "one/policy/model") > 1e-5  # and training moved them
        rows, own = (metrics.read(world / run / stage / "metrics.jsonl") for run in ("one", "labelled"))
        for row, of_both in zip(rows, own, strict=True):
            assert of_both.values == pytest.approx(row.values, abs=1e-4, rel=1e-4)
    parts = [scored(world, rank) for rank in (0, 1)]
    assert parts[0].total() == parts[1].total() == 16  # of 4 updates with 8 completions
    assert not parts[0] & parts[1]
    assert parts[0] + parts[1] == whole  # the samples of one process, whoever drew them


def test_what_fails_in_one_process_ends_both_with_one_message(world: Path) -> None:
    main, other = launch(world, "policy", "run.yaml", "--out", "rewarded", plant="error")
    assert (main.code, other.code) == (2, 2), main.said + other.said
    assert main.said.count("raised ValueError: planted") == 1 and "Traceback" not in main.said
    assert other.said == ""
    bad = world / "bad.yaml"
    bad.write_text((world / "run.yaml").read_text().replace("batch_size: 16", "batch_size: 0"))
    main, other = launch(world, "reward", "bad.yaml", "--out", "rewarded")
    assert (main.code, other.code) == (2, 2) and "batch_size" in main.said and other.said == ""


def test_after_a_kill_one_process_ends_where_two_would_have(world: Path) -> None:
    for rank in (0, 1):
        (world / f"scored-{rank}.jsonl").unlink(missing_ok=True)
    main, other = launch(world, "policy", "run.yaml", "--out", "rewarded", plant="kill")
    assert (main.code, other.code) == (3, -9), main.said + other.said
    assert "another process of this run is gone" in main.said
    assert [p.name for p in (world / "rewarded/policy/checkpoint").iterdir()] == ["update-000002"]
    (alone,) = launch(world, "policy", "run.yaml", "--out", "rewarded", size=1)
    assert alone.code == 0, alone.said
    assert apart(world / "one/policy/model", world / "rewarded/policy/model") < 1e-6


@pytest.mark.vllm
def test_each_process_samples_with_its_own_vllm(world: Path) -> None:
    """The canary holds the engines' weights against the trainer's at every update."""
    sets = ["--set", "policy.engine=vllm", "--set", "policy.updates=3"]
    ended = launch(world, "policy", "run.yaml", "--out", "rewarded", *sets)
    assert [end.code for end in ended] == [0, 0], ended[0].said + ended[1].said
    rows = metrics.read(world / "rewarded/policy/metrics.jsonl")
    assert len(rows) == 3 and max(row.values["canary_gap"] for row in rows) < 1e-3
    assert apart(world / "one/sft/model", world / "rewarded/policy/model") > 1e-5
