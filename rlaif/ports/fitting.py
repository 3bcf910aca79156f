"""How the stages that learn scalar models from labels train them: settings, split, passes over the pairs, the check."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, model_validator

from rlaif.ports import interrupt
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation, CostTarget, Optimisation, PairTarget
from rlaif.ports.reporter import Reporter
from rlaif.ports.tracker import Tracker
from rlaif.records import seeds
from rlaif.records.dataset import is_test
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.label import Label
from rlaif.records.settings import Training

Check = Literal["refuse", "warn"]
T = TypeVar("T", PairTarget, CostTarget)


class Fitting(Training):
    """One pass of AdamW over the labels by default."""

    backbone: str | None = Field(default=None, description="folder or Hub name; the SFT policy where not given")
    from_scratch: bool = Field(
        default=False, description="the backbone's architecture and tokenizer with fresh weights"
    )
    epochs: int = Field(default=1, ge=1, description="passes over the labels")
    batch_size: int = Field(default=32, ge=1, description="pairs a step")
    check: Check = Field(
        default="refuse", description="where a model is not shown to beat trivial rules: refuse to go on, or warn"
    )

    @model_validator(mode="after")
    def _nothing_random_is_frozen(self) -> Self:
        if self.from_scratch and self.lora is not None:
            raise ValueError("`lora` trains no more than an adapter, and with `from_scratch` all else stays random")
        return self


class Split(NamedTuple):
    """Labels to learn from, and those of the held-out prompts."""

    train: list[Label]
    heldout: list[Label]


class Draw(NamedTuple):
    """Seeds of one model: of its head, and of the order of its pairs."""

    head: int
    order: int

    @classmethod
    def of(cls, seed: int, name: str, member: int = 1) -> Draw:
        suffix = "" if member == 1 else f"-{member}"
        return cls(seeds.derive(seed, f"head{suffix}", name), seeds.derive(seed, f"all{suffix}", name))


def split(labels: Sequence[Label], usable: Callable[[Label], bool], file: str | Path | None) -> Split:
    """The usable labels by the hash of their prompts.

    Raises:
        InputError: too few to train on and to hold out.
    """
    found = parted(labels, usable)
    if not all(found):
        train, kept = map(len, found)
        problem = f"{train + kept} usable labels leave {train} to train on and {kept} held out"
        raise InputError(problem, file=file, fix="label more prompts")
    return found


def parted(labels: Sequence[Label], usable: Callable[[Label], bool]) -> Split:
    """The same, also where nothing is left."""
    parts = Split([], [])
    for label in filter(usable, labels):
        parts[held_out(label)].append(label)
    return parts


def held_out(label: Label) -> bool:
    """Whether the label's prompt is one to measure on."""
    return is_test([m.model_dump() for m in label.pair.messages])


def on_axis(labels: Sequence[Label], axis: str | None, file: str | Path | None) -> list[Label]:
    """Labels with an axis's own probability and weight in the place of the overall ones.

    Raises:
        InputError: no label speaks of that axis.
    """
    if axis is None:
        return list(labels)
    known = sorted({name for x in labels for name in x.axes})
    if axis not in known:
        fix = f"labels here have the axes {', '.join(known)}" if known else "these labels have no axes: leave it out"
        raise InputError(f"no label has the axis {axis!r}", file=file, field="axis", fix=fix)
    found = []
    for label in labels:
        own = label.axes.get(axis)
        p, weight = (own.p, 0.0 if own.abstained else own.coverage) if own is not None else (None, 0.0)
        found.append(label.model_copy(update={"p": p, "weight": weight}))
    return found


def fold(label: Label) -> bool:
    """Which half of the prompts a label belongs to; depends on the prompt's text alone."""
    text = "\x1f".join(f"{m.role}:{m.content}" for m in label.pair.messages)
    return seeds.derive(0, text, "fold") % 2 == 0


def steps_of(config: Fitting, pairs: int) -> int:
    """Optimiser steps that so many pairs to train on take, of one model."""
    return config.epochs * -(-pairs // config.batch_size)


def train(
    config: Fitting,
    engines: Engines,
    targets: Sequence[T],
    loss: Callable[..., Any],
    tracker: Tracker,
    *,
    name: str,
    backbone: str,
    draw: Draw,
    before: int = 0,
    models: int = 1,
) -> Any:
    """A `RewardLearner` after its passes over the targets.

    Args:
        name: of the stage, for the progress line.
        before: optimiser steps that models before this one took; metrics count on from there.
        models: how many are trained in all.
    """
    steps = steps_of(config, len(targets))
    learner = engines.learner(
        "reward",
        backbone=backbone,
        optimisation=Optimisation.of(config, steps),
        seed=draw.head,
        from_scratch=config.from_scratch,
    )
    for step, batch in enumerate(_batches(targets, config, random.Random(draw.order)), start=before + 1):
        metrics = learner.step(batch, loss)
        tracker.log(step, metrics)
        engines.reporter.progress(name, step, steps * models, {"accuracy": f"{metrics['accuracy']:.2f}"})
        interrupt.heed()
    return learner


def conversations(labels: Sequence[Label]) -> list[Conversation]:
    """Both replies of every label, one after the other."""
    return [Conversation(x.pair.messages, response) for x in labels for response in x.pair.responses]


def judge(problem: str | None, check: Check, what: str, key: str, reporter: Reporter) -> None:
    """Refuse to go on with a model, or warn, where there is something to say against it.

    Raises:
        RunHalted: there is, and the check is to refuse.
    """
    if problem is None:
        return
    if check == "refuse":
        fix = f"label more, train it better, or go on all the same with --set {key}=warn (nothing is trained again)"
        raise RunHalted(f"the {what} model was trained, but {problem}; {fix}")
    reporter.line(f"warning: the {what} model: {problem}")


def _batches(targets: Sequence[T], config: Fitting, chance: random.Random) -> Iterator[list[T]]:
    for _ in range(config.epochs):
        order = list(targets)
        chance.shuffle(order)
        yield from (order[start : start + config.batch_size] for start in range(0, len(order), config.batch_size))
