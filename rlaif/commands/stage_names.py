"""The stages of a run by their names, from what its run file says, also where that is of another version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOOP = ("pairs", "label", "audit", "reward", "cost", "policy")  # what later rounds have again


def stage_names(config: Mapping[str, Any]) -> list[str]:
    """In the order in which they run; those of later rounds as `round-2/pairs`."""
    from rlaif.pipeline import NAMES

    names = [name for name in NAMES if name != "cost" or config.get("cost") is not None]
    wanted = config.get("rounds")
    rounds = range(1, 1 + (wanted if isinstance(wanted, int) else 1))
    loop = [name if number == 1 else f"round-{number}/{name}" for number in rounds for name in names if name in LOOP]
    before, after = names[: names.index(LOOP[0])], names[names.index(LOOP[-1]) + 1 :]
    return [*before, *loop, *after]
