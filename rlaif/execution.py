"""A run, stage by stage: what is finished is left alone, what is left to do is done.

Where a launcher started several processes, the main one goes through the stages, and calls the others in where models
are trained.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rlaif.config import RESOLVED, RunConfig, check_axes
from rlaif.pipeline import NAMES, Plan, Stage
from rlaif.ports import interrupt
from rlaif.ports.budget import Budget, parse_price
from rlaif.ports.engines import Engines
from rlaif.records import constitution as constitutions
from rlaif.records import metrics, usage
from rlaif.records.errors import InputError
from rlaif.records.files import canonical_json, content_hash, write_text
from rlaif.records.run_folder import RunFolder
from rlaif.records.settings import Lineage
from rlaif.records.store import stored_uses
from rlaif.records.usage import RunUsage, StageUsage
from rlaif.rounds import stages_of
from rlaif.stages import policy

SHOWN = 3  # changed settings that are named
TRAINING = ("sft", "reward", "cost", "policy")  # stages that all processes enter


class Timing(NamedTuple):
    """Seconds that a stage took just now; None where it was already finished."""

    stage: str
    seconds: float | None


class Call(NamedTuple):
    """The main process enters this stage."""

    stage: str
    lineage: Lineage


def execute(
    config: RunConfig, folder: Path, engines: Engines, *, until: str = "report", fresh: bool = False
) -> list[Timing]:
    """Run every stage up to and including `until` that is not finished. Timings are the main process's.

    Raises:
        InputError: anything that the user supplied is wrong, or another process holds the run folder.
        RunHalted: a stage stopped on purpose.
    """
    plan = Plan(config, constitutions.load(config.constitution), folder)
    check_axes(config, plan.constitution, until)
    if engines.processes.rank > 0:
        _follow(plan, engines)
        return []
    run_folder = RunFolder(folder)
    if config.threads is not None:
        engines.use_threads(config.threads)
    try:
        if fresh:
            _clear(run_folder)
        usage.read(folder)  # a damaged one is said before anything is asked
        write_text(folder / RESOLVED, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        engines.trackers = [config.tracker] if config.tracker else []
        price = parse_price(config.price) if config.price else None
        engines.budget = Budget(folder / "spend.sqlite", price, config.max_cost)
        with interrupt.draining(engines.reporter.line):
            timings = []
            for stage in stages_of(config, until):
                timings.append(_stage(stage, plan, run_folder, engines))
                if stage.gate is not None:
                    stage.gate(getattr(config, stage.base).check, folder / stage.name, engines.reporter)
            engines.processes.gather(None)  # the others may go
            return timings
    finally:
        engines.close()
        run_folder.close()


def _follow(plan: Plan, engines: Engines) -> None:
    """Take part in the stages that the main process calls, until it says None. What they need it has written."""
    if plan.config.threads is not None:
        engines.use_threads(plan.config.threads)
    stages = {stage.name: stage for stage in stages_of(plan.config)}
    call: Call | None
    try:
        while (call := engines.processes.gather(None)[0]) is not None:
            stages[call.stage].run(plan, engines, plan.folder / call.stage, call.lineage)
    finally:
        engines.close()


def _stage(stage: Stage, plan: Plan, folder: RunFolder, engines: Engines) -> Timing:
    shapes = stage.shapes(plan)
    parents = {name: folder.digest(name) for name in stage.needs}
    key = folder.stage_key(shapes, parents)
    if folder.finished(stage.name, key):
        if folder.manifest.again == stage.name:
            folder.again(None)
        engines.reporter.line(f"{stage.name}: finished before, nothing to do")
        return Timing(stage.name, None)
    entry = folder.manifest.stages.get(stage.name)
    if entry is not None:
        why = edited(entry.config, canonical_json(shapes)) or "what it depends on changed"
        why = why if entry.key != key else "its output was changed or damaged"
        engines.reporter.line(f"{stage.name}: {why}, running again")
        folder.again(stage.name)
    begun = time.monotonic()
    out = folder.path / stage.name
    out.mkdir(parents=True, exist_ok=True)
    try:
        lineage = Lineage(content_hash(shapes), parents)
        if stage.base in TRAINING:
            engines.processes.gather(Call(stage.name, lineage))
        outputs = stage.run(plan, engines, out, lineage)
        folder.finish(stage.name, key, canonical_json(shapes), [f"{stage.name}/{name}" for name in outputs])
    except BaseException:
        with suppress(InputError):  # of torn metrics: people must hear what stopped the stage
            _remember(plan, stage.name, engines, time.monotonic() - begun, finished=False)
        raise
    seconds = time.monotonic() - begun
    _remember(plan, stage.name, engines, seconds, finished=True)
    return Timing(stage.name, seconds)


def edited(before: str, now: str) -> str | None:
    """What a stage's settings are that changed since, in words; None where nothing did.

    Args:
        before: canonical JSON of the stage's settings and of all else in the run file that shapes it.
    """
    if before == now:
        return None
    old, new = ([own for own in json.loads(text) if isinstance(own, dict)] for text in (before, now))
    found = [one for pair in zip(old, new, strict=False) for one in _differences(*pair)]
    if not found:
        return "its model, critic, constitution, prompts or the seed changed"
    named = [f"{name} {_short(was)} → {_short(is_now)}" for name, was, is_now in found[:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"its settings changed ({', '.join(named)}{more})"


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted names of what differs, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield name, old, new


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _clear(folder: RunFolder) -> None:
    """`--fresh`: only what rlaif wrote is removed."""
    folder.manifest_path.unlink(missing_ok=True)
    for name in (*NAMES, "logs", *(path.name for path in folder.path.glob("round-[0-9]*"))):
        shutil.rmtree(folder.path / name, ignore_errors=True)
    folder.manifest = type(folder.manifest)()


def _remember(plan: Plan, stage: str, engines: Engines, seconds: float, *, finished: bool) -> None:
    """Add an attempt at a stage to `logs/usage.json`. Clocks and counts are kept apart from the artifacts, which do not
    depend on them; this is the file's one writer."""
    known = usage.read(plan.folder)
    out = plan.folder / stage
    rows = metrics.read(out / "metrics.jsonl") if (out / "metrics.jsonl").is_file() else []
    now = StageUsage(
        finished=finished,
        seconds=round((known.stages[stage].seconds if stage in known.stages else 0.0) + seconds, 2),
        disk=usage.folder_size(out),
        steps=max((row.step for row in rows), default=0),
        uses=[
            *(policy.uses(plan.config.policy, rows) if stage.split("/")[-1] == "policy" else []),
            *stored_uses(out / "answers.sqlite"),
        ],
    )
    dollars = None
    if engines.budget is not None and any(engines.budget.price):
        spending = engines.budget.summary()
        dollars = float(spending.spent + spending.reserved)
    written = RunUsage(dollars=dollars, stages={**known.stages, stage: now})
    write_text(plan.folder / "logs" / "usage.json", json.dumps(written.model_dump(), indent=2) + "\n")
