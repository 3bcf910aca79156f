"""labels -> cost model: which replies do harm, and where zero is (Safe RLHF).

It learns the labels of one cost axis: from each pair, which reply does more harm, and from each check of a reply, on
which side of zero it lies. Its scores are never centred or scaled: PPO-Lagrangian compares their mean with a limit.
Without checks on the axis nothing says where zero is, and `gate` refuses to go on.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pydantic import Field

from rlaif.critique import heldout
from rlaif.critique.agreement import expected_calibration_error, score, wilson
from rlaif.ports import fitting, registry
from rlaif.ports.engines import Engines
from rlaif.ports.fitting import Check, Draw, Fitting, Split
from rlaif.ports.learner import CostTarget
from rlaif.ports.reporter import Reporter
from rlaif.records.files import read_json, read_rows, write_text
from rlaif.records.label import Label
from rlaif.records.settings import Lineage
from rlaif.records.trained import CostSummary

Harm = tuple[float | None, float | None]  # P(harmful) of both replies, None where no check says


class Config(Fitting):
    """The loss itself has no settings (rlaif.algorithms.cost_model)."""

    axis: str = Field(description="the cost axis whose labels it learns")


class Inputs(NamedTuple):
    labels: Sequence[Path]  # of all rounds, the newest last
    backbone: str
    seed: int
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `model/`, `metrics.jsonl` and `summary.json`.

    Raises:
        InputError: too few labels of the axis to train on and to hold out.
        RunHalted: a loss, gradient or cost is not finite.
    """
    known = [label for path in inputs.labels for label in read_rows(path, Label, "labels")]
    labels = fitting.on_axis(known, config.axis, inputs.labels[-1])
    parts = fitting.split(labels, lambda x: _answered(x) or harm(x, config.axis) != (None, None), inputs.labels[-1])
    with engines.tracker(inputs.out) as tracker:
        learner = fitting.train(
            config,
            engines,
            [target(x, config.axis) for x in parts.train],
            registry.load("objective", "cost_model").loss,
            tracker,
            name="cost",
            backbone=inputs.backbone,
            draw=Draw.of(inputs.seed, "cost"),
        )
    summary = _measure(config.axis, learner, parts)
    learner.save(inputs.out / "model")
    if engines.processes.rank > 0:
        return []
    write_text(inputs.out / "summary.json", json.dumps(summary.model_dump(), indent=2, sort_keys=True) + "\n")
    for line in describe(summary):
        engines.reporter.line(line)
    return ["model", "metrics.jsonl", "summary.json"]


def gate(check: Check, folder: Path, reporter: Reporter) -> None:
    """Refuse to go on with a finished cost model that is not shown to beat the best trivial rule on pairs, or whose
    zero rests on nothing; or warn.

    Raises:
        RunHalted: either holds, and the check is to refuse.
    """
    summary = read_json(folder / "summary.json", CostSummary)
    problem = heldout.shortfall(summary.accuracy, summary.baselines, summary.against_baseline)
    if problem is None and not summary.train_signs:
        problem = f"no check speaks for the axis {summary.axis!r}, so that its zero, and any limit, mean nothing"
    fitting.judge(problem, check, "cost", "cost.check", reporter)


def harm(label: Label, axis: str) -> Harm:
    """P(harmful) of both replies by the checks on a cost axis: the highest of the checks (a reply that one of them
    finds harmful is harmful), each the mean of its critics; None where no check was answered."""
    found: tuple[dict[str, list[float]], dict[str, list[float]]] = (defaultdict(list), defaultdict(list))
    for sign in label.signs:
        if sign.axis == axis:
            found[sign.response][sign.principle_id].append(sign.p_unsafe)
    first, second = (max(map(fmean, own.values())) if own else None for own in found)
    return first, second


def target(label: Label, axis: str) -> CostTarget:
    """A label of a cost axis (P(first is *less* harmful), as principles ask it) as what the loss reads."""
    first, second = harm(label, axis)
    return CostTarget(
        label.pair.messages,
        *label.pair.responses,
        p=1 - label.p if label.p is not None else 0.0,
        weight=label.weight if label.p is not None else 0.0,
        first_harmful=first or 0.0,
        second_harmful=second or 0.0,
        first_weight=float(first is not None),
        second_weight=float(second is not None),
    )


def _answered(label: Label) -> bool:
    return label.p is not None and label.weight > 0


def _measure(axis: str, learner: Any, parts: Split) -> CostSummary:
    costs = learner.score(fitting.conversations(parts.heldout))
    decided = [i for i, x in enumerate(parts.heldout) if _answered(x) and heldout.decided(x)]
    # The preferred reply is the less harmful one: it must cost less.
    correct = [score(0.5 + costs[2 * i + 1] - costs[2 * i], heldout.preferred(parts.heldout[i])) for i in decided]
    beaten = heldout.against_baselines([parts.heldout[i] for i in decided], correct)
    harms = [p for x in parts.heldout for p in harm(x, axis)]
    signed = [(cost, p) for cost, p in zip(costs, harms, strict=True) if p is not None]
    right = [score(_sigmoid(cost), int(p <= 0.5)) for cost, p in signed]
    unsafe = sum(p > 0.5 for _, p in signed)
    sure = [(max(q, 1 - q), p if q >= 0.5 else 1 - p) for q, p in ((_sigmoid(cost), p) for cost, p in signed)]
    return CostSummary(
        axis=axis,
        train_pairs=len(parts.train),
        heldout_pairs=len(parts.heldout),
        train_signs=sum(p is not None for x in parts.train for p in harm(x, axis)),
        truncated=learner.truncated,
        accuracy=wilson(sum(correct), len(correct)),
        baselines=beaten.baselines,
        against_baseline=beaten.against,
        signs=wilson(sum(right), len(right)),
        majority_sign=wilson(max(unsafe, len(signed) - unsafe), len(signed)),
        ece=expected_calibration_error([c for c, _ in sure], [p for _, p in sure]),
        mean_cost=fmean(costs),
    )


def _sigmoid(x: float) -> float:
    return 0.5 + 0.5 * math.tanh(x / 2)


def describe(summary: CostSummary) -> list[str]:
    """The summary for a person."""
    accuracy, signs = summary.accuracy, summary.signs
    against = summary.against_baseline
    lines = ["cost: no held-out label of the axis prefers a side"]
    if accuracy.value is not None and against.value is not None:
        rules = ", ".join(f"{name} {found.value:.3f}" for name, found in summary.baselines.items())
        lines = [
            f"cost: the more harmful reply has the higher cost in {accuracy.value:.3f} [{accuracy.low:.3f}, "
            f"{accuracy.high:.3f}] of {accuracy.n} held-out pairs ({rules})",
            f"cost: minus the best rule, {against.against}: {against.value:+.3f} "
            f"[{against.low:+.3f}, {against.high:+.3f}] pair by pair",
        ]
    if signs.value is None or summary.ece is None:
        return [*lines, f"cost: no held-out reply was checked; mean cost {summary.mean_cost:+.3f} of an unknown zero"]
    return [
        *lines,
        f"cost: on its side of zero {signs.value:.3f} [{signs.low:.3f}, {signs.high:.3f}] of {signs.n} checked replies "
        f"(the more frequent side: {summary.majority_sign.value:.3f}), ECE {summary.ece:.3f}, mean cost "
        f"{summary.mean_cost:+.3f}",
    ]
