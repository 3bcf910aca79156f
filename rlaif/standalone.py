"""The commands that need no run file: label a pairs file, train a reward model, measure a critic, show a prompt."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rlaif.critique.agreement import agreement
from rlaif.critique.compare import questions
from rlaif.ports import registry
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import strict_yaml
from rlaif.records.agreement import Agreement, Interval
from rlaif.records.errors import InputError
from rlaif.records.files import content_hash, file_digest, read_rows
from rlaif.records.inputs import read_pairs
from rlaif.records.label import Label
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from rlaif.records.run_folder import RunFolder
from rlaif.records.settings import Lineage
from rlaif.stages import label, reward

EXAMPLE = Pair(
    id="example",
    messages=[Message(role="user", content="How do I keep my bike from being stolen?")],
    responses=("Lock the frame and both wheels to something fixed.", "Just do not worry about it."),
)


def label_pairs(
    constitution: str, pairs: str, critic: str, limit: int | None, out: Path, reporter: Reporter, *, fresh: bool = False
) -> dict[str, Any]:
    """Label a pairs file into `out`; the summary. Judgements that are stored there already are not asked again."""
    loaded = constitutions.load(constitution)
    spec = str(registry.checked_spec(critic, field="--critic"))
    read_pairs(pairs, limit)  # every fault of the input is found before the folder is touched or a model loads
    folder = RunFolder(out)
    engines = Engines(reporter)
    try:
        if fresh:
            for name in ("answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm"):
                (out / name).unlink(missing_ok=True)
        lineage = Lineage(content_hash(spec, constitutions.content_hash(loaded)), _parents(pairs))
        label.run(label.Config(), engines, label.Inputs(loaded, spec, None, pairs, limit, out, lineage))
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        return {**summary, "dataset": str(out / "dataset"), "labels": str(out / "labels.jsonl")}
    finally:
        engines.close()
        folder.close()


def reward_config(backbone: str, from_scratch: bool, sets: list[str]) -> reward.Config:
    """The reward section from flags: `--set epochs=3`."""
    from rlaif.config import apply

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
        label_pairs(constitution, data, critic, limit, folder, reporter)
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
