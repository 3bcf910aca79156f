"""The shape of the source tree, read from its syntax trees: sizes, names, and nothing left half done."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("rlaif", "tests", "benchmarks", "examples")

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
REASON = re.compile(r"#\s*long: \S+")
NAMES_THAT_SAY_NOTHING = {"utils", "util", "core", "helpers", "helper", "misc", "common"}
# In two halves, so that this file does not find itself.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "NotImplemented" + "Error")))
EXTERNAL_TO_FORMULAS = {"torch", "rlaif", "__future__", "collections", "dataclasses", "math", "typing"}
# Modules by which a declared library is known, where its name is not the only one.
PARTS_OF_LIBRARIES = {
    "PyYAML": {"yaml"},
    "jinja2": {"jinja2", "markupsafe"},
    "pydantic": {"pydantic", "pydantic_core"},
    "transformers": {"transformers", "tokenizers"},
}


class Source(NamedTuple):
    """One Python file: its path from the top of the checkout, its lines and its syntax tree."""

    path: Path
    lines: list[str]
    tree: ast.Module


def read(file: Path) -> Source:
    text = file.read_text(encoding="utf-8")
    return Source(file.relative_to(ROOT), text.splitlines(), ast.parse(text, filename=str(file)))


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    files = [ROOT / "bootstrap.py", *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))]
    return [read(file) for file in files]


@pytest.fixture(scope="module")
def package(sources: list[Source]) -> list[Source]:
    found = [source for source in sources if source.path.parts[0] == "rlaif"]
    assert len(found) > 20
    return found


def long_functions(source: Source) -> list[str]:
    """Functions over the limit that give no reason on a line of their signature."""
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            signature = source.lines[node.lineno - 1 : node.body[0].lineno]
            if size > LONGEST_FUNCTION and not any(map(REASON.search, signature)):
                found.append(f"{source.path}:{node.lineno} {node.name}: {size} lines")
    return found


def imported(source: Source) -> set[str]:
    """Top-level names of all that a file imports, wherever in the file."""
    nodes = list(ast.walk(source.tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in plain | from_}


def test_a_long_function_is_seen_and_a_reason_excuses_it(tmp_path: Path) -> None:
    body = "    pass\n" * LONGEST_FUNCTION
    plain, excused = (f"def f() -> None:{comment}\n{body}" for comment in ("", "  # long: a table"))
    for text, expected in ((plain, 1), (excused, 0)):
        assert len(long_functions(Source(Path("f.py"), text.splitlines(), ast.parse(text)))) == expected


def test_a_file_fits_on_a_few_screens(sources: list[Source]) -> None:
    """A longer one says why in one of its first lines: `# long: reason`."""
    long = [source for source in sources if len(source.lines) > LONGEST_FILE]
    assert not [
        f"{source.path}: {len(source.lines)}" for source in long if not any(map(REASON.match, source.lines[:5]))
    ]


def test_a_function_fits_on_a_screen(sources: list[Source]) -> None:
    assert not [fault for source in sources for fault in long_functions(source)]


def test_names_say_what_is_inside(sources: list[Source]) -> None:
    words = {source.path: {*source.path.parent.parts, source.path.stem.removeprefix("test_")} for source in sources}
    assert not [path for path, parts in words.items() if parts & NAMES_THAT_SAY_NOTHING]


def test_nothing_is_left_half_done(sources: list[Source]) -> None:
    assert not [
        f"{source.path}:{number}: {line.strip()}"
        for source in sources
        for number, line in enumerate(source.lines, 1)
        if UNFINISHED.search(line)
    ]


def test_a_module_says_what_it_is(package: list[Source]) -> None:
    assert not [source.path for source in package if source.tree.body and not ast.get_docstring(source.tree)]


def test_every_folder_of_the_package_is_a_package(package: list[Source]) -> None:
    assert not [folder for folder in {s.path.parent for s in package} if not (ROOT / folder / "__init__.py").is_file()]


def test_formulas_need_torch_alone(package: list[Source]) -> None:
    formulas = [source for source in package if source.path.parts[1] == "formulas"]
    assert formulas
    assert not {source.path: extra for source in formulas if (extra := imported(source) - EXTERNAL_TO_FORMULAS)}


def test_every_library_that_the_package_imports_is_declared(package: list[Source]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["vllm"], *extras["tensorboard"]]
    declared = {re.split(r"[<>=\[]", requirement)[0] for requirement in requirements}
    assert PARTS_OF_LIBRARIES.keys() <= declared
    parts = {part for library in declared for part in PARTS_OF_LIBRARIES.get(library, {library})}
    known = parts | sys.stdlib_module_names | {"rlaif"}
    # Contract suites run inside the pytest of whoever tests a backend with them.
    outside_tests = [source for source in package if source.path.parts[1] != "testing"]
    assert not {source.path: extra for source in outside_tests if (extra := imported(source) - known)}


def test_nothing_is_tracked_that_belongs_to_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "bootstrap.py" in tracked
    assert not [file for file in tracked if file.startswith((".venv/", "runs/", "dist/")) or "__pycache__" in file]
