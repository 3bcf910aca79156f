"""labels -> reward model: soft Bradley-Terry, then scores centred and scaled on its references; one model or several.

The model is measured on held-out prompts, beside rules that learn nothing. Where it is not shown to beat the best of
them, `gate` refuses to go on: optimising against such a model optimises noise.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from rlaif.critique import heldout
from rlaif.critique.aggregate import human_label
from rlaif.critique.agreement import score, wilson
from rlaif.ports import fitting, registry
from rlaif.ports.engines import Engines
from rlaif.ports.fitting import Check, Draw, Fitting, Split
from rlaif.ports.learner import PairTarget
from rlaif.ports.reporter import Reporter
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import atomic_folder, read_json, read_rows, write_text
from rlaif.records.inputs import read_pairs
from rlaif.records.label import Label
from rlaif.records.report import RewardSummary
from rlaif.records.settings import Lineage
from rlaif.records.trained import ENSEMBLE, Combine, Ensemble

if TYPE_CHECKING:
    import torch


class Config(Fitting):
    """`settings` are those of the loss (rlaif.algorithms.bradley_terry)."""

    axis: str | None = Field(default=None, description="learn the labels of this axis; the overall ones if not given")
    members: int = Field(default=1, ge=1, description="models that score together, each with its own seed")
    combine: Combine = Field(
        default="mean",
        description="of the members' scores: mean, worst (the lowest), or uncertainty (mean - coefficient * variance)",
    )
    uncertainty_coefficient: float = Field(
        default=0.1, ge=0, description="of `combine: uncertainty`; 0.1 is the literature's for PPO, 0.5 for best-of-n"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="of the loss, see rlaif/algorithms/bradley_terry.py; only a run checks them, not this schema",
    )


class Inputs(NamedTuple):
    """Labels of the label stage, or a `pairs` file whose rows say which response was chosen (human labels)."""

    labels: Path | None
    pairs: str | None
    limit: int | None
    backbone: str
    seed: int
    out: Path
    lineage: Lineage


class Member(NamedTuple):
    """Scores of one trained model before it was scaled: their mean and standard deviation on the replies that it was
    trained on, and those of the held-out replies, two a pair."""

    mean: float
    spread: float
    heldout: list[float]
    truncated: int


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `model/` (with the other members of an ensemble within it), `metrics.jsonl` and `summary.json`.

    Raises:
        InputError: too few labels to train on and to hold out, or none of the axis.
        RunHalted: a loss, gradient or score is not finite, or all replies score the same.
    """
    file = inputs.pairs or inputs.labels
    labels = fitting.on_axis(_labels(inputs), config.axis, file)
    parts = fitting.split(labels, lambda x: x.p is not None and x.weight > 0, file)
    main = engines.processes.rank == 0
    folder = atomic_folder(inputs.out / "model") if main else nullcontext(inputs.out / "model")
    with folder as model, engines.tracker(inputs.out) as tracker:
        members = []
        for number in range(1, config.members + 1):
            name = "." if number == 1 else f"member-{number}"
            members.append(_member(config, engines, inputs, parts, tracker, number, model / name))
        if config.members > 1 and main:
            names = [".", *(f"member-{number}" for number in range(2, config.members + 1))]
            ensemble = Ensemble(members=names, combine=config.combine, coefficient=config.uncertainty_coefficient)
            (model / ENSEMBLE).write_text(json.dumps(ensemble.model_dump(), indent=2) + "\n", encoding="utf-8")
    if not main:
        return []
    summary = _measure(config, parts, members)
    write_text(inputs.out / "summary.json", json.dumps(summary.model_dump(), indent=2, sort_keys=True) + "\n")
    for line in describe(summary):
        engines.reporter.line(line)
    return ["model", "metrics.jsonl", "summary.json"]


def gate(check: Check, folder: Path, reporter: Reporter) -> None:
    """Refuse to go on with a finished reward model that is not shown to beat the best trivial rule, or warn.

    Raises:
        RunHalted: it is not, and the check is to refuse.
    """
    summary = read_json(folder / "summary.json", RewardSummary)
    problem = heldout.shortfall(summary.accuracy, summary.baselines, summary.against_baseline)
    fitting.judge(problem, check, "reward", "reward.check", reporter)


def steps_of(config: Config, pairs: int) -> int:
    """Optimiser steps that so many pairs to train on take, of all members."""
    return config.members * fitting.steps_of(config, pairs)


def _member(
    config: Config, engines: Engines, inputs: Inputs, parts: Split, tracker: Any, number: int, folder: Path
) -> Member:
    """Train, measure, scale and save one model."""
    algorithm = registry.load("objective", "bradley_terry")
    learner = fitting.train(
        config,
        engines,
        [_target(x) for x in parts.train],
        partial(algorithm.loss, config=algorithm.Config(**config.settings)),
        tracker,
        name="reward",
        backbone=inputs.backbone,
        draw=Draw.of(inputs.seed, "reward", number),
        before=(number - 1) * fitting.steps_of(config, len(parts.train)),
        models=config.members,
    )
    held = learner.score(fitting.conversations(parts.heldout))
    truncated = learner.truncated
    references = learner.score(fitting.conversations(parts.train))
    member = Member(fmean(references), pstdev(references), held, truncated)
    if not member.spread > 0:
        raise RunHalted("the reward model gives every reply the same score; there is nothing to optimise")
    learner.normalise(member.mean, member.spread)  # from here on its references have mean 0 and standard deviation 1
    learner.save(folder)
    return member


def _labels(inputs: Inputs) -> list[Label]:
    if inputs.labels is not None:
        return read_rows(inputs.labels, Label, "labels")
    pairs = read_pairs(inputs.pairs or "", inputs.limit)
    undecided = next((p for p in pairs if p.preferred is None), None)
    if undecided is not None:
        fix = "give `chosen` and `rejected`, or label the pairs with `rlaif label` first"
        raise InputError(f"pair {undecided.id!r} does not say which response was chosen", file=inputs.pairs, fix=fix)
    return [human_label(p) for p in pairs]


def _measure(config: Config, parts: Split, members: list[Member]) -> RewardSummary:
    """Held-out figures on the margin that the loss was fitted on: an ensemble's in units of its members' mean."""
    import torch

    from rlaif.formulas import preference

    scores_KB = torch.tensor([m.heldout for m in members], dtype=torch.float64)
    mean_K1, spread_K1 = (torch.tensor([[x] for x in column]) for column in zip(*(m[:2] for m in members), strict=True))
    scaled_KB = (scores_KB - mean_K1) / spread_K1
    combined_B = preference.combine(scaled_KB, config.combine, coefficient=config.uncertainty_coefficient)
    spread = float(spread_K1.mean())
    margin_B = _margins(combined_B) * spread
    p_B = torch.tensor([x.p for x in parts.heldout], dtype=torch.float64)
    decided = [i for i, x in enumerate(parts.heldout) if heldout.decided(x)]
    sides = [heldout.preferred(parts.heldout[i]) for i in decided]

    def right(margins_B: torch.Tensor) -> list[float]:
        return [score(float(margins_B[i].sigmoid()), side) for i, side in zip(decided, sides, strict=True)]

    correct = right(margin_B)
    beaten = heldout.against_baselines([parts.heldout[i] for i in decided], correct)
    return RewardSummary(
        train_pairs=len(parts.train),
        heldout_pairs=len(parts.heldout),
        truncated=max(m.truncated for m in members),
        loss=float(preference.soft_bradley_terry(margin_B, p_B).mean()),
        floor=float(preference.floor(p_B).mean()),
        axis=config.axis,
        accuracy=wilson(sum(correct), len(correct)),
        baselines=beaten.baselines,
        against_baseline=beaten.against,
        calibration=registry.load("measure", "calibrated")(
            margin_B.tolist(), p_B.tolist(), [fitting.fold(x) for x in parts.heldout]
        ),
        spread=spread,
        members=[wilson(sum(own), len(own)) for own in (right(_margins(row_B)) for row_B in scores_KB)],
        disagreement=float(scaled_KB.std(dim=0, correction=0).mean()) if len(members) > 1 else None,
    )


def _margins(scores_B: torch.Tensor) -> torch.Tensor:
    """Of every pair of scores, the first minus the second."""
    return scores_B[::2] - scores_B[1::2]


def describe(summary: RewardSummary) -> list[str]:
    """The summary for a person: what it gets right, beside the rules; what its probabilities are worth."""
    accuracy, against = summary.accuracy, summary.against_baseline
    measured = f"loss {summary.loss:.4f} (floor {summary.floor:.4f})"
    lines = [f"reward: no held-out label prefers a side; {measured}"]
    if accuracy.value is not None and against.value is not None:
        rules = ", ".join(f"{name} {found.value:.3f}" for name, found in summary.baselines.items())
        lines = [
            f"reward: held-out accuracy {accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}] on {accuracy.n} "
            f"pairs ({rules}), {measured}",
            f"reward: minus the best rule, {against.against}: {against.value:+.3f} "
            f"[{against.low:+.3f}, {against.high:+.3f}] pair by pair",
        ]
    if summary.disagreement is not None:
        own = ", ".join("–" if m.value is None else f"{m.value:.3f}" for m in summary.members)
        lines.append(
            f"reward: members alone {own}; they disagree by {summary.disagreement:.3f} (scores have deviation 1)"
        )
    return [*lines, f"reward: {heldout.described(summary.calibration)}", *heldout.picture(summary.calibration)]


def _target(label: Label) -> PairTarget:
    first, second = label.pair.responses
    return PairTarget(label.pair.messages, first, second, p=label.p or 0.0, weight=label.weight)
