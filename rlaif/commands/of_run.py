"""What a run folder says of itself, to commands that are no stage of it."""

from __future__ import annotations

from pathlib import Path

from rlaif import config as configs
from rlaif import pipeline
from rlaif.config import RunConfig
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows
from rlaif.records.inputs import read_prompts
from rlaif.records.prompt import Prompt


def config_of(folder: Path) -> RunConfig:
    """The settings of a run.

    Raises:
        InputError: the folder is none, or what it names is gone.
    """
    file = folder / configs.RESOLVED
    if not file.is_file():
        raise InputError("this is no run folder", file=folder, fix="name one that `rlaif run` wrote, such as runs/NAME")
    return configs.load(file, algorithms=False)


def model_of(folder: Path, config: RunConfig, stage: str) -> str:
    """The folder of the model that a stage made, in the last round where there are several.

    Raises:
        InputError: it is not there yet.
    """
    found = folder / pipeline.in_round(f"{stage}/model", config.rounds)
    if not found.is_dir():
        raise InputError(f"this run has no {stage} model yet", file=found, fix="finish it: the same command goes on")
    return str(found)


def prompts_of(folder: Path | None, kind: str, given: str | None, limit: int | None) -> list[Prompt]:
    """The prompts that are given, else a run's own of that kind, `test` or `guard`.

    Raises:
        InputError: there are none, or the file is at fault.
    """
    if given is not None:
        return read_prompts(given, limit)
    if folder is None:
        raise InputError("no prompts are given", fix="give --prompts, a file or a shipped set, or a run folder")
    return read_rows(folder / "prompts" / f"{kind}.jsonl", Prompt, "prompts")[:limit]
