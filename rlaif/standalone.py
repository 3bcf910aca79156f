"""The commands that need no run file: label a pairs file, train a reward model, measure a critic, show a prompt."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlaif.critique import calibrate
from rlaif.critique.agreement import agreement
from rlaif.critique.compare import questions
from rlaif.ports import interrupt, registry
from rlaif.ports.budget import Budget, parse_price
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import export as exports
from rlaif.records import strict_yaml
from rlaif.records.agreement import Agreement, Interval
from rlaif.records.errors import InputError
from rlaif.records.export import Keep
from rlaif.records.files import content_hash, file_digest, iterate_rows, read_rows
from rlaif.records.inputs import iterate_pairs, read_pairs
from rlaif.records.label import Label
from rlaif.records.label_table import describe
from rlaif.records.labelling import Rule
from rlaif.records.overrides import apply
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from rlaif.records.run_folder import RunFolder
from rlaif.records.settings import Lineage
from rlaif.records.sources import source_digests
from rlaif.stages import label, reward

STORED = ("answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm", "progress.json")
EXAMPLE = Pair(
    id="example",
    messages=[Message(role="user", content="How do I keep my bike from being stolen?")],
    responses=("Lock the frame and both wheels to something fixed.", "Just do not worry about it."),
)


def label_config(critics: Sequence[str], options: dict[str, Any], sets: Sequence[str]) -> label.Config:
    """The label section from flags, `--set key=value` included. What is None keeps its default."""
    data: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if len(critics) > 1:
        data["more_critics"] = [str(registry.checked_spec(c, field="--critic")) for c in critics[1:]]
    if "escalate" in data:
        data["escalate"] = str(registry.checked_spec(data["escalate"], field="--escalate"))
    for override in sets:
        apply(data, override)
    return strict_yaml.validate(strict_yaml.Document(data, {}, "--set"), label.Config)


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
) -> dict[str, Any]:
    """Label a pairs file into `out`; the summary. Judgements that are stored there already are not asked again."""
    loaded = constitutions.load(constitution)
    spec = str(registry.checked_spec(critic, field="--critic"))
    checked = sum(1 for _ in iterate_pairs(pairs, limit))  # faults of the input come before the folder is touched
    if not checked:
        raise InputError("there are no pairs here", file=pairs, fix="give at least one")
    label.read_sources(config, seed)
    folder = RunFolder(out)
    engines = Engines(reporter)
    try:
        if fresh:
            for name in STORED:
                (out / name).unlink(missing_ok=True)
        engines.budget = budget(out, price, max_cost)
        parents = {**_parents(pairs), **source_digests(config.sources)}
        lineage = Lineage(content_hash(spec, config.model_dump(), constitutions.content_hash(loaded)), parents)
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
    label.read_folder(folder)
    lock = RunFolder(folder)
    try:
        fitted = label.fit(folder, loaded, rule, gold) if fit or gold is not None else None
        if fitted is not None:
            reporter.line(calibrate.describe(fitted))
            rule = Rule.model_validate({**data, "temperature": fitted.temperature})
        summary = label.relabel(folder, out or folder, loaded, rule)
    finally:
        lock.close()
    reporter.line(describe(summary))
    calibration = {"calibration": fitted._asdict()} if fitted else {}
    return {**summary.model_dump(), **calibration, "dataset": str((out or folder) / "dataset")}


def export(folder: Path, out: Path, kind: str, keep: Keep, axis: str | None, reporter: Reporter) -> dict[str, Any]:
    """Write a folder's labels as a data set of another shape.

    Raises:
        InputError: the folder holds no labels; no such shape or axis; `out` holds other things.
    """
    about = label.read_folder(folder)
    if axis is not None and axis not in about.constitution.axes:
        known = ", ".join(sorted(about.constitution.axes))
        raise InputError(f"there is no axis {axis!r}", fix=f"use one of: {known}", field="--axis")
    labels = iterate_rows(folder / "labels.jsonl", Label, "labels")
    counts = exports.write(out, labels, kind, keep=keep, axis=axis)
    reporter.line(
        f"{kind}: {counts.train} rows to train on, {counts.test} to test on; {counts.left_out} labels left out"
    )
    return {"format": kind, **counts._asdict(), "dataset": str(out)}


def reward_config(backbone: str, from_scratch: bool, sets: list[str]) -> reward.Config:
    """The reward section from flags: `--set epochs=3`."""
    data: dict[str, Any] = {"backbone": backbone, "from_scratch": from_scratch}
    for override in sets:
        apply(data, override)
    config = strict_yaml.validate(strict_yaml.Document(data, {}, "--set"), reward.Config)
    settings = strict_yaml.Document(config.settings, {}, "--set")
    strict_yaml.validate(settings, registry.load("objective", "bradley_terry").Config)
    registry.model_path(backbone)
    return config


def train_reward(
    config: reward.Config, labels: Path | None, pairs: str | None, limit: int | None, out: Path, reporter: Reporter
) -> dict[str, Any]:
    """Train on `labels.jsonl` or on pairs with a known choice; the held-out summary."""
    if labels is not None:
        read_rows(labels, Label, "labels")
    else:
        read_pairs(pairs or "", limit)
    folder = RunFolder(out)
    engines = Engines(reporter)
    try:
        lineage = Lineage(content_hash(config.model_dump()), _parents(str(labels or pairs)))
        inputs = reward.Inputs(labels, pairs, limit, config.backbone or "", 0, out, lineage)
        reward.run(config, engines, inputs)
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        return {**summary, "model": str(out / "model")}
    finally:
        engines.close()
        folder.close()


def test_critic(
    critic: str, data: str, constitution: str, limit: int | None, out: Path | None, reporter: Reporter
) -> Agreement:
    """Label pairs whose choice is known, and compare.

    Raises:
        InputError: no row says which response was chosen.
    """
    known = [p for p in read_pairs(data, limit) if p.preferred is not None]
    if not known:
        raise InputError("no row says which response was chosen", file=data, fix="use data with a known choice")
    folder = out or Path(tempfile.mkdtemp(prefix="rlaif-critic-"))
    try:
        label_pairs(label.Config(), constitution, data, critic, limit, folder, reporter)
        return agreement(read_rows(folder / "labels.jsonl", Label, "labels"))
    finally:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)


def describe_agreement(result: Agreement) -> str:
    """The measurement as a small table."""
    bias = "–" if result.first_position is None else f"{result.first_position:.3f} (0.5 is unbiased)"
    lines = [
        f"pairs              {result.pairs} ({result.failed} without a label)",
        f"accuracy           {_interval(result.accuracy)}",
        f"swap consistency   {_interval(result.swap_consistency)}",
        f"mean P(option A)   {bias}",
        f"ECE                {'–' if result.ece is None else f'{result.ece:.3f}'}",
        *(f"  {name:<24} {_interval(interval)}" for name, interval in result.by_principle.items()),
    ]
    return "\n".join(lines)


def show_constitution(file: str, principle: str | None) -> list[dict[str, Any]]:
    """The messages of every question, on the principle's first test or, without one, on an example pair.

    Raises:
        InputError: there is no such principle.
    """
    loaded = constitutions.load(file)
    if principle is not None and principle not in {p.id for p in loaded.principles}:
        known = ", ".join(p.id for p in loaded.principles)
        raise InputError(f"there is no principle {principle!r}", fix=f"use one of: {known}")
    shown = []
    for own in loaded.principles:
        if principle not in (None, own.id):
            continue
        pair = EXAMPLE
        if own.tests:
            test = own.tests[0]
            pair = Pair(id="test", messages=test.prompt, responses=(test.better, test.worse))
        one = loaded.model_copy(update={"principles": [own]})
        for question in questions(pair, one):
            messages = [m.model_dump() for m in question.messages]
            shown.append({"principle": own.id, "order": question.order, "messages": messages})
    return shown


def _interval(interval: Interval) -> str:
    if interval.value is None:
        return "– (nothing to count)"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}] of {interval.n}"


def _parents(source: str) -> dict[str, str]:
    path = Path(source)
    return {path.name: file_digest(path)} if path.is_file() else {source: "hub"}
