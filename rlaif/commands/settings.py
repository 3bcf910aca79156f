"""`rlaif config show`: every setting of a run, and who set it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlaif import config as configs
from rlaif.records import secrets, strict_yaml
from rlaif.records.overrides import from_environment
from rlaif.records.strict_yaml import Document

# What rlaif and its libraries read from the environment: no setting, but it shapes what a run does.
ENVIRONMENT = (
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "HF_HOME",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)
SECRET = ("KEY", "TOKEN")


class Setting(NamedTuple):
    """A dotted key, its value as JSON, and where it comes from: default, FILE:LINE, --set or environment."""

    key: str
    value: str
    source: str


def show(path: Path, overrides: Sequence[str]) -> list[Setting]:
    """Every setting as a run would use it, and what the environment says.

    Raises:
        InputError: what a run would raise for this file.
    """
    config = configs.load(path, list(overrides), algorithms=False)
    document = strict_yaml.load(path)
    given = {text.partition("=")[0]: f"environment {name}" for name, text in from_environment(os.environ).items()}
    given |= {text.partition("=")[0]: "--set" for text in overrides}
    found = [
        Setting(key, json.dumps(value, ensure_ascii=False), _source(key, document, given))
        for key, value in _leaves(config.model_dump(mode="json"))
    ]
    for name in ENVIRONMENT:
        if value := os.environ.get(name):
            hidden = name.endswith(SECRET) or any(secrets.scan([value], {}))
            found.append(Setting(name, "(set)" if hidden else json.dumps(value), "environment"))
    return found


def describe(found: Sequence[Setting]) -> str:
    """The same for a person."""
    key, value = (max(len(row[i]) for row in found if len(row[i]) <= 40) for i in (0, 1))
    return "\n".join(f"{row.key:<{key}}  {row.value:<{value}}  {row.source}" for row in found)


def _leaves(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _source(key: str, document: Document, given: Mapping[str, str]) -> str:
    """The last to set it, or a section that it stands in, or a part of it; `given` says who set what over the file."""
    over = [who for own, who in given.items() if f"{key}.".startswith(f"{own}.") or own.startswith(f"{key}.")]
    if over:
        return "--set" if "--set" in over else over[-1]
    mark = document.marks.get(key)
    return "default" if mark is None else f"{document.file}:{mark.line}{_as_written(key, document)}"


def _as_written(key: str, document: Document) -> str:
    """What the file says, where it is a choice that this machine makes."""
    written: Any = document.data
    for part in key.split("."):
        written = written.get(part) if isinstance(written, dict) else None
    return f" ({written})" if isinstance(written, str) and written.split(":")[0] == "auto" else ""
