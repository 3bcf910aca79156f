"""What a run took: the record `logs/usage.json`, kept apart from the artifacts, which depend on no clock and no count.

Counts of asked models are kept in each stage's answer store, in the transaction that stores the answers, so that they
add up over resumes and a kill loses none of them.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from rlaif.records.base import Record
from rlaif.records.errors import InputError
from rlaif.records.files import read_json
from rlaif.records.header import SCHEMA_VERSION


class Use(Record):
    """What one model was asked for one purpose, over all attempts.

    Tokens are the endpoint's own count where there is one, else the engine's; of a scripted model, words.
    """

    purpose: str  # as progress lines name it: "samples", "critique 1", "pairs", "policy against sft"
    model: str  # SPEC
    asked: int = 0  # answers that were asked for, failed ones included
    cached: int = 0  # answers that were there already: stored by an earlier attempt, or asked for twice
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    completion_squares: int = 0  # sum of the squares, from which the spread of lengths follows
    seconds: float = 0.0  # of waiting for the model


class StageUsage(Record):
    """One stage. `seconds` are wall clock over all attempts, but for what a kill cut off; `disk` is what its folder
    holds."""

    finished: bool
    seconds: float = Field(ge=0)
    disk: int = Field(ge=0)  # bytes
    steps: int = Field(default=0, ge=0)  # of the optimiser; of PPO, updates
    uses: list[Use] = Field(default_factory=list)


class RunUsage(Record):
    """A run so far. `dollars` is what the ledger holds, open reservations included; None without a price."""

    schema_version: int = SCHEMA_VERSION
    dollars: float | None = None
    stages: dict[str, StageUsage] = Field(default_factory=dict)


def read(folder: Path) -> RunUsage:
    """The usage of a run folder; empty where nothing has run.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / "logs" / "usage.json"
    if not path.is_file():
        return RunUsage()
    try:
        return read_json(path, RunUsage)
    except InputError as error:
        error.fix = "delete it: no artifact depends on it, and it is counted from then on"
        raise


def of_all_rounds(usage: RunUsage) -> RunUsage:
    """The same, with the stages of later rounds, `round-2/label` and so on, added to the first round's."""
    stages: dict[str, StageUsage] = {}
    for name, own in usage.stages.items():
        base = name.split("/")[-1]
        stages[base] = own if base not in stages else _added(stages[base], own)
    return usage.model_copy(update={"stages": stages})


def _added(a: StageUsage, b: StageUsage) -> StageUsage:
    uses: dict[tuple[str, str], Use] = {}
    for use in (*a.uses, *b.uses):
        known = uses.get((use.purpose, use.model))
        counts = use.model_dump(exclude={"purpose", "model"})
        more = {name: getattr(known, name) + value for name, value in counts.items()} if known else counts
        uses[use.purpose, use.model] = use.model_copy(update=more)
    return StageUsage(
        finished=a.finished and b.finished,
        seconds=a.seconds + b.seconds,
        disk=a.disk + b.disk,
        steps=a.steps + b.steps,
        uses=list(uses.values()),
    )


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
