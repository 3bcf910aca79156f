"""`--set section.key=value`: keys that the command line puts over those of a file; and `RLAIF_SET_SECTION__KEY=value`,
by which the environment does so before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlaif.records.errors import InputError

PREFIX = "RLAIF_SET_"


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Overrides as `--set` takes them, by the variables that hold them, in the order of these names:
    RLAIF_SET_POLICY__UPDATES=20 is policy.updates=20."""
    return {
        name: f"{name.removeprefix(PREFIX).lower().replace('__', '.')}={environment[name]}"
        for name in sorted(environment)
        if name.startswith(PREFIX)
    }


def apply(data: dict[str, Any], override: str) -> None:
    """Set one dotted key of the file's data, for example `policy.updates=20`. A value that is not JSON is text.

    Raises:
        InputError: it is not KEY=VALUE, or leads through something that is not a section.
    """
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise InputError(f"{override!r} is not KEY=VALUE", fix="write for example --set policy.updates=20")
    place: Any = data
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise InputError(f"{key!r} leads through a plain value", fix="name a key inside a section", field=key)
    try:
        place[parts[-1]] = json.loads(text)
    except json.JSONDecodeError:
        place[parts[-1]] = text
