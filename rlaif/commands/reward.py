"""A reward model without a run file, from labels or from pairs with a known choice."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rlaif.commands.labels import parents
from rlaif.ports import registry
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Reporter
from rlaif.records import strict_yaml
from rlaif.records.files import content_hash, read_rows
from rlaif.records.inputs import read_pairs
from rlaif.records.label import Label
from rlaif.records.overrides import apply
from rlaif.records.run_folder import RunFolder
from rlaif.records.settings import Lineage
from rlaif.stages import reward


def config_of(backbone: str, from_scratch: bool, sets: list[str]) -> reward.Config:
    """The reward section from flags: `--set epochs=3`. Outside a run the check warns, unless it is said otherwise:
    nothing follows that would build on the model."""
    data: dict[str, Any] = {"backbone": backbone, "from_scratch": from_scratch, "check": "warn"}
    for override in sets:
        apply(data, override)
    config = strict_yaml.validate(strict_yaml.Document(data, {}, "--set"), reward.Config)
    settings = strict_yaml.Document(config.settings, {}, "--set")
    strict_yaml.validate(settings, registry.load("objective", "bradley_terry").Config)
    registry.model_path(backbone)
    return config


def train(
    config: reward.Config, labels: Path | None, pairs: str | None, limit: int | None, out: Path, reporter: Reporter
) -> dict[str, Any] | None:
    """Train on `labels.jsonl` or on pairs with a known choice; the held-out summary, in the main process."""
    engines = Engines(reporter)
    with engines.processes as processes, ExitStack() as held:
        if labels is not None:
            read_rows(labels, Label, "labels")
        else:
            read_pairs(pairs or "", limit)
        if processes.rank == 0:
            held.callback(RunFolder(out, "reward").close)
        held.callback(engines.close)
        lineage = Lineage(content_hash(config.model_dump()), parents(str(labels or pairs)))
        inputs = reward.Inputs([labels] if labels else [], pairs, limit, config.backbone or "", 0, out, lineage)
        reward.run(config, engines, inputs)
        if processes.rank > 0:
            return None
        reward.gate(config.check, out, engines.reporter)
        summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
        return {**summary, "model": str(out / "model")}
