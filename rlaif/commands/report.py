"""Reports of run folders, in whatever state they are: of one, or of two beside each other. Nothing is run or asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from rlaif import pipeline
from rlaif.config import RunConfig
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import strict_yaml
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import canonical_json, write_text
from rlaif.records.report import Problem, Report
from rlaif.rounds import stages_of
from rlaif.stages import report as stage

SETTINGS = "config.resolved.yaml"


class Run(NamedTuple):
    """A run folder, and what its settings say of it."""

    folder: Path
    config: stage.Config
    inputs: stage.Inputs
    settings: dict[str, str]  # every setting as JSON, by its dotted name


def write(folder: Path, reporter: Reporter) -> Report:
    """Write `report/` of a run folder, and give the report.

    Raises:
        InputError: this is no run folder.
    """
    run = read(folder)
    engines = Engines(reporter)
    try:
        return stage.write(run.config, engines, run.inputs)
    finally:
        engines.close()


def compare(first: Path, second: Path, out: Path | None, reporter: Reporter) -> Path:
    """Write a page with two runs beside each other, and say where it is.

    Raises:
        InputError: one of the folders is no run folder.
    """
    from rlaif.page import compare as page

    runs = [read(folder) for folder in (first, second)]
    path = out or runs[0].inputs.out / f"against-{second.absolute().name}.html"
    sides = []
    for run in runs:
        found, _ = stage.gather(
            run.config.model_copy(update={"browse": 0, "credits": 0}), Engines(reporter), run.inputs
        )
        base = os.path.relpath(run.folder.absolute(), path.absolute().parent)
        sides.append(page.Side(found, str(run.folder), base))
    names = sorted({*runs[0].settings, *runs[1].settings})
    differ = [(name, runs[0].settings.get(name), runs[1].settings.get(name)) for name in names]
    write_text(path, page.page(sides[0], sides[1], [row for row in differ if row[1] != row[2]]))
    return path


def read(folder: Path) -> Run:
    """A run folder's settings, as far as they can be read.

    Raises:
        InputError: this is no run folder.
    """
    fix = "name a folder that `rlaif run` wrote, such as runs/NAME"
    if not folder.is_dir():
        raise InputError("there is no such folder", file=folder, fix=fix)
    if not any((folder / name).exists() for name in ("manifest.json", SETTINGS, *pipeline.NAMES)):
        raise InputError("this folder holds no run", file=folder, fix=fix)
    faults: list[Problem] = []
    config, data = _config(folder, faults)
    optional = ("cost", "redteam")
    known = [name for name in pipeline.NAMES if name not in optional or (folder / name).is_dir()]
    stages = [own.name for own in stages_of(config)] if config else known
    inputs = stage.Inputs(
        name=config.name if config else folder.absolute().name,
        seed=config.seed if config else None,
        simulation=config.simulation if config else False,
        constitution=_constitution(folder, config),
        critic=config.critic if config else None,
        rollout_engine=(config.policy.engine or config.engine) if config else None,
        guard=config.policy.guard if config else None,
        stages=[name for name in stages if name != "report"],
        folder=folder,
        out=folder / "report",
        faults=faults,
    )
    return Run(folder, config.report if config else stage.Config(), inputs, _flat(data))


def data(report: Report, page: Path) -> dict[str, Any]:
    """What a machine is told of a report."""
    return {
        "report": str(page.absolute()),
        "stages": {own.name: own.state for own in report.stages},
        "problems": [own.model_dump() for own in report.problems],
        "warnings": report.warnings,
    }


def text(report: Report, page: Path) -> str:
    """The same for a person."""
    missing = [own for own in report.stages if own.state != "finished"]
    notes = [f"{own.name}{f' ({own.note})' if own.note else ''}" for own in missing]
    lines = [f"not finished: {', '.join(notes)}"] if notes else []
    lines += [f"cannot be read: {own.file}: {own.what}" for own in report.problems]
    lines += [f"warning: {warning}" for warning in report.warnings]
    return "\n".join([*lines, f"report: {page.absolute()}"])


def _config(folder: Path, faults: list[Problem]) -> tuple[RunConfig | None, dict[str, Any]]:
    """The settings of a run, and the same as plain data; what is wrong with them is added to `faults`."""
    if not (folder / SETTINGS).is_file():
        return None, {}
    data: dict[str, Any] = {}
    try:
        document = strict_yaml.load(folder / SETTINGS)
        data = document.data
        return strict_yaml.validate(document, RunConfig), data
    except InputError as error:
        where = f"line {error.line}: " if error.line is not None else ""
        faults.append(Problem(file=SETTINGS, what=f"{where}{error.field or ''} {error.problem}".strip()))
        return None, data


def _constitution(folder: Path, config: RunConfig | None) -> Constitution | None:
    """The constitution that the run names; None where labels remember theirs, and where it cannot be found."""
    if config is None or (folder / "label/labelling.json").is_file():
        return None
    try:
        return constitutions.load(config.constitution)
    except InputError:
        return None


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        return {name: canonical_json(value)} if name else {}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{name}.{key}" if name else str(key))
    return found
