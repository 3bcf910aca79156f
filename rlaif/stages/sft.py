"""revisions -> SFT policy: supervised fine-tuning on the last revision of every response (SL-CAI, 2212.08073 §3).

Deviations from the paper, both for small models: the start model itself is fine-tuned, not a pretrained one before it,
and only the last round's revision is imitated, not every round's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from rlaif.ports import interrupt
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation, Optimisation
from rlaif.records import seeds
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows
from rlaif.records.sample import Revision
from rlaif.records.settings import Lineage, Training

HELDOUT_SHARE = 20  # one conversation in twenty measures the loss and is not trained on


class Config(Training):
    """One pass of AdamW by default, as the paper does."""

    epochs: int = Field(default=1, ge=1, description="passes over the revisions")
    batch_size: int = Field(default=32, ge=1, description="conversations a step")


class Inputs(NamedTuple):
    revisions: Path
    model: str
    seed: int
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `model/` (an ordinary model folder) and `metrics.jsonl`.

    Raises:
        InputError: fewer than two conversations.
        RunHalted: the loss or a gradient is not finite.
    """
    revisions = read_rows(inputs.revisions, Revision, "revisions")
    rows = [
        Conversation(r.prompt.messages, r.rounds[-1].response if r.rounds else r.initial)
        for r in revisions
        if r.initial.strip() or r.rounds
    ]
    if len(rows) < 2:
        raise InputError("too few conversations to train on", file=inputs.revisions, fix="raise sample.prompts")
    chance = random.Random(seeds.derive(inputs.seed, "all", "sft"))
    chance.shuffle(rows)
    held = heldout_rows(len(rows))
    heldout, train = rows[:held], rows[held:]
    steps = steps_of(config, len(rows))
    learner = engines.learner(
        "sft",
        model=inputs.model,
        optimisation=Optimisation.of(config, steps),
        seed=seeds.derive(inputs.seed, "adapter", "sft"),
    )
    with engines.tracker(inputs.out) as tracker:
        tracker.log(0, {"heldout_loss": learner.evaluate(heldout)["loss"]})
        for step, batch in enumerate(batches(train, config.batch_size, config.epochs, chance), start=1):
            metrics = learner.step(batch)
            tracker.log(step, metrics)
            engines.reporter.progress("sft", step, steps, {"loss": f"{metrics['loss']:.3f}"})
            interrupt.heed()
        tracker.log(steps, {"heldout_loss": learner.evaluate(heldout)["loss"]})
    learner.save(inputs.out / "model")
    return ["model", "metrics.jsonl"]


def heldout_rows(rows: int) -> int:
    """How many of so many conversations are held out."""
    return max(1, rows // HELDOUT_SHARE)


def steps_of(config: Config, rows: int) -> int:
    """Optimiser steps that so many conversations take."""
    return config.epochs * -(-(rows - heldout_rows(rows)) // config.batch_size)


def batches(rows: list[Conversation], size: int, epochs: int, chance: random.Random) -> Iterator[list[Conversation]]:
    """Every row once an epoch, freshly shuffled; the last batch of an epoch may be smaller."""
    for _ in range(epochs):
        order = list(rows)
        chance.shuffle(order)
        yield from (order[start : start + size] for start in range(0, len(order), size))
