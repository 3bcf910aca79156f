"""The stages of a run by their names, from what its run file says, also where that is of another version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

OPTIONAL = ("cost",)  # a run has these only where its file has a section of that name


def stage_names(config: Mapping[str, Any]) -> list[str]:
    """In the order in which they run; those of later rounds as `round-2/pairs`."""
    from rlaif.config import RunConfig
    from rlaif.pipeline import NAMES
    from rlaif.rounds import stages_of

    try:
        return [stage.name for stage in stages_of(RunConfig.model_validate(config))]
    except ValidationError:  # not of this version, or damaged: the first round's
        return [name for name in NAMES if name not in OPTIONAL or config.get(name) is not None]
