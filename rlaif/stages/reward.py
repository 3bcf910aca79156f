"""labels -> reward model: soft Bradley-Terry, then scores centred and scaled on its references; one model or several.

The model is measured on held-out prompts, beside rules that learn nothing. Where it is not shown to beat the best of
them, `gate` refuses to go on: optimising against such a model optimises noise.

In later rounds it learns from the labels of all rounds so far, and from the replies that exploited the reward models
before it, and is compared with the last of those on the earlier rounds' held-out labels: what was learnt shall be kept.
Where the auditing critic has taken over, its labels alone are learnt, those that it wrote in audits too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from rlaif.critique import heldout
from rlaif.critique.aggregate import human_label
from rlaif.critique.agreement import difference, score, wilson
from rlaif.ports import fitting, registry
from rlaif.ports.engines import Engines
from rlaif.ports.fitting import Check, Draw, Fitting, Split
from rlaif.ports.learner import PairTarget
from rlaif.ports.reporter import Reporter
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import atomic_folder, read_json, read_rows, write_text
from rlaif.records.guard import Exploit, Verdict
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
    exploit_weight: float = Field(
        default=8.0, gt=0, description="of an exploit that a guard fed back, beside a label's 1: exploits are few"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="of the loss, see rlaif/algorithms/bradley_terry.py; only a run checks them, not this schema",
    )


class Inputs(NamedTuple):
    """Labels of the label stages, those of the newest round last, or a `pairs` file whose rows say which response was
    chosen (human labels).

    exploits, audited: of earlier rounds' guards; `audited` where the auditing critic has taken over. previous: folder
    of the last round's reward model.
    """

    labels: Sequence[Path]
    pairs: str | None
    limit: int | None
    backbone: str
    seed: int
    out: Path
    lineage: Lineage
    exploits: Sequence[Path] = ()
    audited: Sequence[Path] = ()
    previous: str | None = None


class Material(NamedTuple):
    """What is learnt and measured on; `earlier` of the held-out labels, the first ones, are of earlier rounds."""

    labels: Split
    earlier: int
    exploits: Split

    @property
    def train(self) -> list[Label]:
        return self.labels.train + self.exploits.train

    @property
    def heldout(self) -> list[Label]:
        return self.labels.heldout + self.exploits.heldout


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
    parts = _material(config, inputs)
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
    previous = _previous_scores(engines, inputs.previous, parts)
    summary = _measure(config, parts, members, previous)
    write_text(inputs.out / "summary.json", json.dumps(summary.model_dump(), indent=2, sort_keys=True) + "\n")
    for line in describe(summary):
        engines.reporter.line(line)
    return ["model", "metrics.jsonl", "summary.json"]


def gate(check: Check, folder: Path, reporter: Reporter) -> None:
    """Refuse to go on with a finished reward model that is not shown to beat the best trivial rule, or that forgot what
    the one before it knew; or warn.

    Raises:
        RunHalted: either holds, and the check is to refuse.
    """
    summary = read_json(folder / "summary.json", RewardSummary)
    problem = heldout.shortfall(summary.accuracy, summary.baselines, summary.against_baseline)
    kept = summary.against_previous
    if problem is None and kept is not None and kept.high is not None and kept.high < 0:
        interval = f"{kept.value:+.3f} [{kept.low:+.3f}, {kept.high:+.3f}] on {kept.n} held-out pairs"
        problem = f"it forgot what the last round's knew: {interval}"
    fitting.judge(problem, check, "reward", "reward.check", reporter)


def steps_of(config: Config, pairs: int) -> int:
    """Optimiser steps that so many pairs to train on take, of all members."""
    return config.members * fitting.steps_of(config, pairs)


def _member(
    config: Config, engines: Engines, inputs: Inputs, parts: Material, tracker: Any, number: int, folder: Path
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


def _material(config: Config, inputs: Inputs) -> Material:
    """The labels and exploits that are usable, split.

    Raises:
        InputError: too few labels to train on and to hold out, or none of the axis.
    """
    file = inputs.pairs or inputs.labels[-1]
    audited = [[row.label for row in read_rows(path, Verdict, "audited")] for path in inputs.audited]
    rounds = [*audited, *(read_rows(path, Label, "labels") for path in inputs.labels)] or [_chosen(inputs)]
    exploits = [row.label for path in inputs.exploits for row in read_rows(path, Exploit, "exploits")]
    parts = [fitting.on_axis(labels, config.axis, file) for labels in (*rounds, exploits) if labels]
    heavy = [x.model_copy(update={"weight": config.exploit_weight * x.weight}) for x in parts.pop()] if exploits else []
    split = fitting.split([x for own in parts for x in own], _usable, file)
    earlier = sum(map(_usable, (x for own in parts[:-1] for x in own if fitting.held_out(x))))
    return Material(split, earlier, fitting.parted(heavy, _usable))


def _usable(label: Label) -> bool:
    return label.p is not None and label.weight > 0


def _previous_scores(engines: Engines, model: str | None, parts: Material) -> list[float]:
    """What the last round's model says of the earlier rounds' held-out replies, two a pair."""
    if model is None:
        return []
    rows = fitting.conversations(parts.labels.heldout[: parts.earlier])
    scores: list[float] = engines.learner("reward_scorer", model=model).score(rows)
    return scores


def _chosen(inputs: Inputs) -> list[Label]:
    pairs = read_pairs(inputs.pairs or "", inputs.limit)
    undecided = next((p for p in pairs if p.preferred is None), None)
    if undecided is not None:
        fix = "give `chosen` and `rejected`, or label the pairs with `rlaif label` first"
        raise InputError(f"pair {undecided.id!r} does not say which response was chosen", file=inputs.pairs, fix=fix)
    return [human_label(p) for p in pairs]


def _measure(config: Config, parts: Material, members: list[Member], previous: list[float]) -> RewardSummary:
    """Held-out figures on the margin that the loss was fitted on: an ensemble's in units of its members' mean."""
    import torch

    from rlaif.formulas import preference

    scores_KB = torch.tensor([m.heldout for m in members], dtype=torch.float64)
    mean_K1, spread_K1 = (torch.tensor([[x] for x in column]) for column in zip(*(m[:2] for m in members), strict=True))
    scaled_KB = (scores_KB - mean_K1) / spread_K1
    combined_B = preference.combine(scaled_KB, config.combine, coefficient=config.uncertainty_coefficient)
    spread = float(spread_K1.mean())
    own, every = parts.labels.heldout, _margins(combined_B) * spread
    margin_B, caught_B = every[: len(own)], every[len(own) :]
    p_B = torch.tensor([x.p for x in own], dtype=torch.float64)
    decided = [i for i, x in enumerate(own) if heldout.decided(x)]
    correct = _right(own, margin_B, decided)
    beaten = heldout.against_baselines([own[i] for i in decided], correct)
    caught = _right(parts.exploits.heldout, caught_B, range(len(caught_B)))
    before = [i for i in decided if i < parts.earlier]
    old = _right(own, _margins(torch.tensor(previous, dtype=torch.float64)), before) if previous else []
    return RewardSummary(
        train_pairs=len(parts.train),
        heldout_pairs=len(own),
        truncated=max(m.truncated for m in members),
        loss=float(preference.soft_bradley_terry(margin_B, p_B).mean()),
        floor=float(preference.floor(p_B).mean()),
        axis=config.axis,
        accuracy=wilson(sum(correct), len(correct)),
        baselines=beaten.baselines,
        against_baseline=beaten.against,
        calibration=registry.load("measure", "calibrated")(
            margin_B.tolist(), p_B.tolist(), [fitting.fold(x) for x in own]
        ),
        spread=spread,
        members=[wilson(sum(x), len(x)) for x in (_right(own, _margins(row_B), decided) for row_B in scores_KB)],
        disagreement=float(scaled_KB.std(dim=0, correction=0).mean()) if len(members) > 1 else None,
        exploits=wilson(sum(caught), len(caught)) if parts.exploits.train or caught else None,
        against_previous=difference("model", "previous", list(zip(correct[: len(old)], old, strict=True)))
        if previous
        else None,
    )


def _right(labels: Sequence[Label], margins_B: torch.Tensor, places: Iterable[int]) -> list[float]:
    """Of the labels at some places, whether the model prefers the side that the label does; one half for a tie."""
    return [score(float(margins_B[i].sigmoid()), heldout.preferred(labels[i])) for i in places]


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
    if (kept := summary.against_previous) is not None and kept.value is not None:
        interval = f"{kept.value:+.3f} [{kept.low:+.3f}, {kept.high:+.3f}] on {kept.n} pairs"
        lines.append(f"reward: minus the last round's, on labels held out from both: {interval}")
    if (caught := summary.exploits) is not None and caught.value is not None:
        interval = f"{caught.value:.3f} [{caught.low:.3f}, {caught.high:.3f}] of {caught.n}"
        lines.append(f"reward: exploits of held-out prompts that it sees through: {interval}")
    return [*lines, f"reward: {heldout.described(summary.calibration)}", *heldout.picture(summary.calibration)]


def _target(label: Label) -> PairTarget:
    first, second = label.pair.responses
    return PairTarget(label.pair.messages, first, second, p=label.p or 0.0, weight=label.weight)
