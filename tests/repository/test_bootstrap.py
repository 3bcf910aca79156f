"""The set-up script: a no-op once done, one clear message where it cannot go on, and never someone else's files."""

from __future__ import annotations

import ensurepip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# Nothing listens there: as good as no network, and at once.
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_FIND_LINKS": ""}
# Runs the script as if it were called directly, after `{before}` has changed something in the interpreter.
RUN_CHANGED = "import importlib.util, runpy, sys; {before}; runpy.run_path('bootstrap.py', run_name='__main__')"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the script reads, and no `.venv`."""
    for name in ("bootstrap.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def script(checkout: Path) -> ModuleType:
    """The script of `checkout` as a module."""
    spec = importlib.util.spec_from_file_location("bootstrap_of_checkout", checkout / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def set_up(checkout: Path, before: str = "pass", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script where no package index can be reached, without the machine's own pip configuration."""
    isolated = {**os.environ, "PIP_CONFIG_FILE": os.devnull, **NO_INDEX, **environment}
    command = [sys.executable, "-c", RUN_CHANGED.format(before=before)]
    done = subprocess.run(command, cwd=checkout, env=isolated, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def state(checkout: Path) -> str:
    found = json.loads((checkout / ".venv" / "rlaif-setup.json").read_text(encoding="utf-8"))
    return str(found["state"])


def finish(checkout: Path, script: ModuleType) -> None:
    """Leave `.venv` as a finished set-up does, with a Python that fails when it is run."""
    script.PYTHON.parent.mkdir(parents=True)
    script.PYTHON.write_text("#!/bin/false\n", encoding="utf-8")
    script.PYTHON.chmod(0o755)
    script.leave(script.finished())


def test_an_old_python_is_told_so(checkout: Path) -> None:
    done = set_up(checkout, before="sys.version_info = (3, 10, 4)")
    assert done.returncode == 1
    assert "needs Python 3.11" in done.stderr
    assert "PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_finished_set_up_is_a_no_op(checkout: Path, script: ModuleType) -> None:
    finish(checkout, script)
    before = {file: file.stat().st_mtime_ns for file in (checkout / ".venv").rglob("*")}
    done = set_up(checkout)
    assert done.returncode == 0
    assert done.stdout == ""
    assert {file: file.stat().st_mtime_ns for file in (checkout / ".venv").rglob("*")} == before


@pytest.mark.parametrize("file", ["pyproject.toml", "bootstrap.py"])
def test_a_changed_file_makes_it_unfinished(checkout: Path, script: ModuleType, file: str) -> None:
    finish(checkout, script)
    with (checkout / file).open("a", encoding="utf-8") as stream:
        stream.write("# changed\n")
    assert script.left_behind() != script.finished()


def test_an_environment_of_other_making_is_not_touched(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "mine").write_text("kept", encoding="utf-8")
    done = set_up(checkout)
    assert done.returncode == 1
    assert "was not made here" in done.stderr
    assert [file.name for file in (checkout / ".venv").iterdir()] == ["mine"]


def test_a_copied_environment_is_built_anew(checkout: Path, script: ModuleType) -> None:
    """Its scripts name the Python of the folder that it was made for."""
    finish(checkout, script)
    script.leave({**script.finished(), "root": "/elsewhere"})
    assert script.fault_of_venv() == "it was made for another folder"


def test_two_set_ups_take_turns(checkout: Path, script: ModuleType) -> None:
    finish(checkout, script)
    script.take_turns()
    command = [sys.executable, "bootstrap.py"]
    with subprocess.Popen(command, cwd=checkout, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert "another set-up" in waiting.stderr.readline()
        assert waiting.poll() is None
        os.close(script.LOCK)
        assert "complete" in waiting.stderr.readline()
        assert waiting.wait() == 0


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("WARNING: ... NewConnectionError(...)\nERROR: No matching distribution found for torch", "network"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: something else", "rlaif-setup.log"),
    ],
)
def test_a_failure_is_explained(script: ModuleType, output: str, expected: str) -> None:
    explanation = script.explanation(output)
    assert expected in explanation
    assert output.splitlines()[-1] in explanation


def test_compiled_modules_are_kept_where_the_machine_forbids_it(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    program = "import sys; print(sys.dont_write_bytecode)"
    assert script.run(sys.executable, "-c", program) == "True\n"
    monkeypatch.setattr(script, "VENV", script.ROOT)  # stands, and is of nobody's making: the set-up goes no further
    with pytest.raises(script.SetupFailed):
        script.set_up()
    assert script.run(sys.executable, "-c", program) == "False\n"


@pytest.mark.slow
def test_an_interrupted_one_is_built_anew_and_a_stopped_one_taken_up(checkout: Path, script: ModuleType) -> None:
    finish(checkout, script)
    script.leave({"state": "started", "root": str(checkout)})
    planted = checkout / ".venv" / "half-installed"
    planted.write_text("", encoding="utf-8")

    done = set_up(checkout)
    assert done.returncode == 1
    assert "the last set-up was interrupted: building .venv anew" in done.stderr
    assert "the package index cannot be reached" in done.stderr
    assert not planted.exists()
    assert state(checkout) == "stopped"

    planted.write_text("", encoding="utf-8")
    done = set_up(checkout)
    assert done.returncode == 1
    assert "anew" not in done.stderr
    assert planted.exists()
    assert state(checkout) == "stopped"


@pytest.mark.slow
def test_without_ensurepip_its_own_pip_is_used(checkout: Path) -> None:
    """Debian's python3 has no ensurepip until python3-venv is installed."""
    (wheel,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    before = (
        "find = importlib.util.find_spec; importlib.util.find_spec = lambda n: None if n == 'ensurepip' else find(n)"
    )
    done = set_up(checkout, before=before, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheel.parent))
    assert done.returncode == 1
    assert "torch" in done.stderr
    python = checkout / ".venv" / "bin" / "python"
    version = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert wheel.name.split("-")[1] in version
