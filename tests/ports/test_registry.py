"""Names to implementations, without importing anything heavy."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif.ports import registry
from rlaif.records.errors import InputError


@pytest.mark.parametrize("kind", sorted(registry.BUILTIN))
def test_every_builtin_name_leads_somewhere(kind: str) -> None:
    for target in registry.BUILTIN[kind].values():
        module, _, attribute = target.partition(":")
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.origin is not None
        if attribute:
            source = Path(spec.origin).read_text()
            assert f"class {attribute}" in source or f"def {attribute}" in source


@pytest.mark.parametrize(
    ("text", "message"),
    [("vllm", "not a model SPEC"), ("vllm:", "not a model SPEC"), ("hff:x", "did you mean 'hf'"), (":x", "unknown")],
)
def test_bad_specs(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.parse_spec(text)


def test_auto_takes_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "installed", lambda module: False)
    assert registry.parse_spec("auto:m") == ("hf", "m")
    monkeypatch.setattr(registry, "installed", lambda module: True)
    assert registry.parse_spec("auto:m") == ("vllm", "m")


def test_model_paths(tmp_path: Path) -> None:
    assert Path(registry.model_path("tinyworld/critic")).joinpath("config.json").is_file()
    assert registry.model_path("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"  # a Hub name passes
    with pytest.raises(InputError, match=r"config\.json is missing"):
        registry.model_path(str(tmp_path))
    with pytest.raises(InputError, match="no model folder here"):
        registry.model_path(str(tmp_path / "none"))


def test_a_function_of_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scorer_module.py").write_text("def score(): return 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert registry.function("my_scorer_module:score")() == 7
    for bad in ("my_scorer_module:nope", "no_such_module:x", "plain"):
        with pytest.raises(InputError):
            registry.function(bad)


def test_looking_up_names_loads_no_torch() -> None:
    code = (
        "import sys; from rlaif.ports import registry; registry.names('chat');"
        "registry.checked_spec('hf:tinyworld/critic');"
        "print([m for m in ('torch', 'transformers', 'vllm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys\nsys.exit(0)", "importing it ended with SystemExit"),
        ("x = = 1", "importing it ended with SyntaxError"),
        ("open('nowhere')", "importing it ended with FileNotFoundError"),
        ("f = 3", "is int, nothing to call"),
    ],
)
def test_a_faulty_module_of_a_user_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    name = f"faulty_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=message):
        registry.function(f"{name}:f")


@pytest.mark.parametrize("reference", [":f", ".here:f", "math:", "math"])
def test_a_reference_that_names_no_function_is_refused(reference: str) -> None:
    with pytest.raises(InputError, match="is not module:name"):
        registry.function(reference)
