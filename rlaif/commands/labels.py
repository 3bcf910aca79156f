"""Labels without a run file: label a pairs file, compute labels again, write them in other shapes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rlaif.critique import calibrate
from rlaif.ports import interrupt, registry
from rlaif.ports.budget import Budget, parse_price
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import export as exports
from rlaif.records import strict_yaml
from rlaif.records.errors import InputError
from rlaif.records.export import Keep
from rlaif.records.files import content_hash, file_digest, iterate_rows
from rlaif.records.inputs import iterate_pairs
from rlaif.records.label import Label
from rlaif.records.label_table import describe
from rlaif.records.labelling import Rule
from rlaif.records.overrides import apply
from rlaif.records.run_folder import RunFolder
from rlaif.records.settings import Lineage
from rlaif.records.sources import source_digests
from rlaif.stages import label
from rlaif.stages.audit import resolve

STORED = ("answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm", "progress.json")


def label_config(critics: Sequence[str], options: dict[str, Any], sets: Sequence[str]) -> label.Config:
    """The label section from flags, `--set key=value` included. What is None keeps its default."""
    data: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if len(critics) > 1:
        data["more_critics"] = [str(registry.checked_spec(c, field="--critic")) for c in critics[1:]]
    if "escalate" in data:
        data["escalate"] = str(registry.checked_spec(data["escalate"], field="--escalate"))
    for override in sets:
        apply(data, override)
    return strict_yaml.validate(strict_yaml.Document(data, {}, "--set" if sets else None), label.Config)


def budget(out: Path, price: str | None, max_cost: float | None) -> Budget:
    """The ledger of a folder."""
    return Budget(out / "spend.sqlite", parse_price(price, field="--price") if price else None, max_cost)


def label_pairs(
    config: label.Config,
    constitution: str,
    pairs: str,
    critic: str,
    limit: int | None,
    out: Path,
    reporter: Reporter,
    *,
    seed: int = 0,
    price: str | None = None,
    max_cost: float | None = None,
    fresh: bool = False,
    ledger: Path | None = None,
) -> dict[str, Any]:
    """Label a pairs file into `out`; the summary. Judgements that are stored there already are not asked again.

    Args:
        ledger: folder of what is spent, where several labellings share one limit; `out` where not given.
    """
    loaded = constitutions.load(constitution)
    spec = str(registry.checked_spec(critic, field="--critic"))
    checked = sum(1 for _ in iterate_pairs(pairs, limit))  # faults of the input come before the folder is touched
    if not checked:
        raise InputError("there are no pairs here", file=pairs, fix="give at least one")
    label.read_sources(config, seed)
    folder = RunFolder(out, "label")
    engines = Engines(reporter)
    try:
        if fresh:
            for name in STORED:
                (out / name).unlink(missing_ok=True)
        engines.budget = budget(ledger or out, price, max_cost)
        origin = {**parents(pairs), **source_digests(config.sources)}
        lineage = Lineage(content_hash(spec, config.model_dump(), constitutions.content_hash(loaded)), origin)
        inputs = label.Inputs(loaded, spec, None, pairs, limit, seed, out, lineage)
        with interrupt.draining(reporter.line):
            label.run(config, engines, inputs)
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        spending = engines.budget.summary()
        if spending.requests or spending.open_requests:
            summary["spent"] = {name: float(value) for name, value in spending._asdict().items()}
        return {**summary, "dataset": str(out / "dataset"), "labels": str(out / "labels.jsonl")}
    finally:
        engines.close()
        folder.close()


def relabel(
    folder: Path,
    out: Path | None,
    constitution: str | None,
    sets: Sequence[str],
    reporter: Reporter,
    *,
    sources: Sequence[str] = (),
    fit: bool = False,
    gold: str | None = None,
) -> dict[str, Any]:
    """Compute a folder's labels again from its judgements, in place or into `out`, under another rule or constitution.

    Args:
        sources: other sources than the folder's own.
        fit: use the temperature that suits known choices best.
        gold: pairs file with these choices, where the labelled pairs do not hold them.

    Raises:
        InputError: the folder holds no labels; a key is no part of the rule; no principle was asked about; no
            temperature can be fitted.
    """
    data: dict[str, Any] = {"sources": list(sources)} if sources else {}
    for override in sets:
        apply(data, override)
    rule = strict_yaml.validate(strict_yaml.Document(data, {}, "--set"), Rule) if data else None
    loaded = constitutions.load(constitution) if constitution else None
    folder = resolve(folder)
    with ExitStack() as closing:
        for held in {folder, out or folder}:
            closing.callback(RunFolder(held, "label").close)
        fitted = label.fit(folder, loaded, rule, gold) if fit or gold is not None else None
        if fitted is not None:
            reporter.line(calibrate.describe(fitted))
            rule = Rule.model_validate({**data, "temperature": fitted.temperature})
        summary = label.relabel(folder, out or folder, loaded, rule)
    reporter.line(describe(summary))
    calibration = {"calibration": fitted._asdict()} if fitted else {}
    return {**summary.model_dump(), **calibration, "dataset": str((out or folder) / "dataset")}


def export(folder: Path, out: Path, kind: str, keep: Keep, axis: str | None, reporter: Reporter) -> dict[str, Any]:
    """Write a folder's labels as a data set of another shape.

    Raises:
        InputError: the folder holds no labels; no such shape or axis; `out` holds other things.
    """
    folder = resolve(folder)
    about = label.read_folder(folder)
    if axis is not None and axis not in about.constitution.axes:
        known = ", ".join(sorted(about.constitution.axes))
        raise InputError(f"there is no axis {axis!r}", fix=f"use one of: {known}", field="--axis")
    labels = iterate_rows(folder / "labels.jsonl", Label, "labels")
    counts = exports.write(out, labels, kind, keep=keep, axis=axis)
    reporter.line(
        f"{kind}: {counts.train} rows to train on, {counts.test} to test on; labels left out: {counts.left_out}"
    )
    return {"format": kind, **counts._asdict(), "dataset": str(out)}


def parents(source: str) -> dict[str, str]:
    """What a record came from, by content: a file's digest, or the name of a Hub data set."""
    path = Path(source)
    return {path.name: file_digest(path)} if path.is_file() else {source: "hub"}
