"""Imports point down, and what an author of constitutions loads is light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("torch", "transformers", "vllm", "datasets", "pyarrow")
LIGHT_PARTS = (
    "records",
    "page",
    "critique",
    "ports",
    "stages",
    "config",
    "execution",
    "pipeline",
    "terminal",
    "commands",
    "cli",
)

# Imports modules one by one and prints, as JSON, the first that brings a heavy library with it, and what it brings.
IMPORT_ONE_BY_ONE = """
import importlib, json, sys
for module in {modules!r}:
    importlib.import_module(module)
    heavy = sorted(set({heavy!r}) & set(sys.modules))
    if heavy:
        break
print(json.dumps([module, heavy]))
"""


def light_modules() -> list[str]:
    """Every module that must load without torch, `rlaif` itself first."""
    package = ROOT / "rlaif"
    files = [file for part in LIGHT_PARTS for file in [*package.glob(f"{part}.py"), *(package / part).rglob("*.py")]]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return ["rlaif", *sorted(names)]


def output_of(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def first_heavy_import(modules: list[str]) -> tuple[str, list[str]]:
    module, heavy = json.loads(output_of(IMPORT_ONE_BY_ONE.format(modules=modules, heavy=HEAVY)))
    return module, heavy


def test_the_check_sees_a_heavy_library() -> None:
    assert first_heavy_import(["json", "pyarrow", "rlaif"]) == ("pyarrow", ["pyarrow"])


def test_light_modules_load_no_heavy_library() -> None:
    modules = light_modules()
    assert len(modules) > 20
    assert first_heavy_import(modules) == (modules[-1], [])


def test_only_drawing_loads_what_draws() -> None:
    program = "import sys, rlaif.pipeline, rlaif.commands.summary; print('matplotlib' in sys.modules)"
    assert output_of(program).strip() == "False"


@pytest.mark.parametrize("arguments", [["--help"], ["label", "--help"], ["constitution", "--help"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    program = f"""
import sys
from rlaif.cli import main
sys.argv = ["rlaif", *{arguments!r}]
try:
    code = main()
except SystemExit as end:
    code = end.code
assert not code, code
print("heavy:", sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    assert output_of(program).endswith("heavy: []\n")


def test_import_rules_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout
