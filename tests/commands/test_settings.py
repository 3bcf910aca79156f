"""`rlaif config show`: every value with who set it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif.ports import registry
from tests.commandline import rlaif

RUN = """name: small
constitution: hhh
model: tinyworld/policy
critic: scripted:rlaif.testing.scripts:prefers_longer
engine: hf
prompts: {train: tinyworld-train, test: tinyworld-test}
policy:
  updates: 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def test_every_value_has_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "run.yaml").write_text(RUN.replace("engine: hf", "engine: auto"))
    installed = registry.installed
    monkeypatch.setattr(registry, "installed", lambda name: name != "vllm" and installed(name))
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-that-nobody-sees")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hidden@host/v1")
    monkeypatch.setenv("HF_HOME", "/somewhere")
    done = rlaif("config", "show", "run.yaml", "--set", "policy.batch_size=16", "--json", cwd=folder)
    found = {key: (row["value"], row["source"]) for key, row in json.loads(done.stdout).items()}
    assert found["policy.updates"] == ("7", "run.yaml:8")
    assert found["policy.batch_size"] == ("16", "--set")
    assert found["policy.temperature"] == ("1.0", "default")
    assert found["prompts.train"] == ('"tinyworld-train"', "run.yaml:6")
    assert found["engine"] == ('"hf"', "run.yaml:5 (auto)")
    assert found["cost"] == ("null", "default")
    assert found["OPENAI_API_KEY"] == found["OPENAI_BASE_URL"] == ("(set)", "environment")
    assert found["HF_HOME"] == ('"/somewhere"', "environment")
    plain = rlaif("config", "show", "run.yaml", cwd=folder).stdout
    assert "policy.updates" in plain and "run.yaml:8" in plain and plain.endswith("next: rlaif estimate run.yaml\n")
    assert "nobody-sees" not in plain and "hidden" not in plain


def test_a_section_that_is_set_as_a_whole_is_set_in_its_parts(folder: Path) -> None:
    done = rlaif("config", "show", "run.yaml", "--set", 'policy.guard={"every": 3}', "--json", cwd=folder)
    found = {key: (row["value"], row["source"]) for key, row in json.loads(done.stdout).items()}
    assert found["policy.guard.every"] == ("3", "--set") and found["policy.updates"][1] == "run.yaml:8"


def test_a_wrong_key_is_named_with_its_nearest(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN.replace("updates", "updatse"))
    done = rlaif("config", "show", "run.yaml", cwd=folder)
    assert done.returncode == 2 and "run.yaml:8" in done.stderr and "did you mean 'updates'?" in done.stderr


def test_a_tracker_that_is_not_installed_is_said_before_anything_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "run.yaml").write_text(f"{RUN}tracker: tensorboard\n")
    installed = registry.installed
    monkeypatch.setattr(registry, "installed", lambda name: name != "tensorboard" and installed(name))
    done = rlaif("config", "show", "run.yaml", cwd=folder)
    assert done.returncode == 2 and "run.yaml:9" in done.stderr and "rlaif[tensorboard]" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rnu.yaml", "did you mean 'run.yaml'?"),
        ("somewhere-else.yaml", "correct the path"),
        ("tinywrld", "there is no shipped run 'tinywrld'"),
    ],
)
def test_a_file_that_is_not_there_is_guessed(name: str, words: str, folder: Path) -> None:
    done = rlaif("config", "show", name, cwd=folder)
    assert done.returncode == 2 and words in done.stderr and ("tinyworld" in done.stderr) == (name == "tinywrld")


def test_the_environment_stands_between_flag_and_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLAIF_SET_POLICY__UPDATES", "9")
    monkeypatch.setenv("RLAIF_SET_SEED", "3")
    done = rlaif("config", "show", "run.yaml", "--set", "policy.updates=11", "--json", cwd=folder)
    found = {key: (row["value"], row["source"]) for key, row in json.loads(done.stdout).items()}
    assert found["seed"] == ("3", "environment RLAIF_SET_SEED") and found["policy.updates"] == ("11", "--set")
    done = rlaif("config", "show", "run.yaml", "--json", cwd=folder)
    row = json.loads(done.stdout)["policy.updates"]
    assert row == {"value": "9", "source": "environment RLAIF_SET_POLICY__UPDATES"}
    monkeypatch.setenv("RLAIF_SET_POLICY__UPDATSE", "9")
    done = rlaif("config", "show", "run.yaml", cwd=folder)
    assert done.returncode == 2 and "did you mean 'updates'?" in done.stderr
