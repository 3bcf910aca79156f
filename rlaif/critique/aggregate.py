"""Labels as a pure function of judgements: no model, no clock, no randomness.

Per principle the probabilities (not the logits) of both orders are averaged (arXiv 2309.00267 §2.1), then principles
by weight into axes, and axes into the overall label by the weight of their principles times their own. A principle with
a failed order has no vote; the label's weight is the share of principle weight that was answered, and a pair that
nobody answered has no probability at all.

Left out here: CoT clamping, temperature, several critics. They change this file and no stored judgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from rlaif.critique.flags import flags_of
from rlaif.critique.verdict import p_first, p_option_a
from rlaif.records.constitution import Constitution, Principle
from rlaif.records.judgement import Judgement
from rlaif.records.label import AxisLabel, Label, Vote
from rlaif.records.pair import Pair

VETO_CONFIDENCE = 0.9


def label(pair: Pair, constitution: Constitution, judgements: Sequence[Judgement], critic: str) -> Label:
    """The label of one pair from all judgements of it (any order of the sequence gives the same label)."""
    by_principle: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        by_principle.setdefault(judgement.principle_id, []).append(judgement)
    votes = [_vote(p, by_principle.get(p.id, [])) for p in constitution.principles]
    axes = {axis: _axis(axis, constitution, votes) for axis in constitution.axes}
    weights = {
        name: axis.weight * sum(v.weight for v in votes if v.axis == name) for name, axis in constitution.axes.items()
    }
    answered = {axis: weights[axis] * entry.coverage for axis, entry in axes.items() if entry.p is not None}
    total = sum(answered.values())
    usable = [j for j in judgements if j.status == "ok"]
    return Label(
        pair=pair,
        source="critic",
        critic=critic,
        constitution=f"{constitution.name}@{constitution.version}",
        p=_clip(sum(w * (axes[a].p or 0.0) for a, w in answered.items()) / total) if total else None,
        weight=_clip(total / sum(weights.values())) if total else 0.0,
        axes=axes,
        votes=votes,
        order_consistent=_order_consistent(votes),
        position_bias=fmean(sorted(p_option_a(j) for j in usable)) - 0.5 if usable else None,
        flags=flags_of(pair),
    )


def human_label(pair: Pair) -> Label:
    """The label of a pair whose choice is in the data: p is 1 or 0.

    Raises:
        ValueError: nobody chose.
    """
    if pair.preferred is None:
        raise ValueError(f"pair {pair.id} has no choice")
    p = 1.0 - pair.preferred
    return Label(
        pair=pair,
        source="human",
        critic=None,
        constitution=None,
        p=p,
        weight=1.0,
        axes={},
        votes=[],
        order_consistent=None,
        position_bias=None,
        flags=flags_of(pair),
    )


def _vote(principle: Principle, judgements: Sequence[Judgement]) -> Vote:
    mean = {
        order: _mean(p_first(j) for j in judgements if j.order == order and j.status == "ok") for order in ("ab", "ba")
    }
    failed = sum(j.status == "failed" for j in judgements)
    complete = mean["ab"] is not None and mean["ba"] is not None
    return Vote(
        principle_id=principle.id,
        axis=principle.axis,
        weight=principle.weight,
        p_ab=mean["ab"] if complete else None,
        p_ba=mean["ba"] if complete else None,
        p=_mean(m for m in mean.values() if m is not None) if complete else None,
        failed=failed,
    )


def _axis(axis: str, constitution: Constitution, votes: Sequence[Vote]) -> AxisLabel:
    own = [v for v in votes if v.axis == axis]
    answered = [v for v in own if v.p is not None]
    if not answered:
        return AxisLabel(p=None, coverage=0.0)
    coverage = _clip(sum(v.weight for v in answered) / sum(v.weight for v in own))
    vetoing = {p.id for p in constitution.principles if p.veto}
    confident = [v for v in answered if v.principle_id in vetoing and abs((v.p or 0.0) - 0.5) >= VETO_CONFIDENCE - 0.5]
    decided = {(v.p or 0.0) > 0.5 for v in confident}
    if len(decided) == 1:  # confident vetoes that contradict each other decide nothing
        strongest = max(confident, key=lambda v: abs((v.p or 0.0) - 0.5))
        return AxisLabel(p=strongest.p, coverage=coverage, veto=strongest.principle_id)
    weighted = sum(v.weight * (v.p or 0.0) for v in answered) / sum(v.weight for v in answered)
    return AxisLabel(p=_clip(weighted), coverage=coverage)


def _order_consistent(votes: Sequence[Vote]) -> bool | None:
    answered = [v for v in votes if v.p is not None]
    if not answered:
        return None
    total = sum(v.weight for v in answered)
    ab = sum(v.weight * (v.p_ab or 0.0) for v in answered) / total
    ba = sum(v.weight * (v.p_ba or 0.0) for v in answered) / total
    return (ab > 0.5) == (ba > 0.5)


def _mean(values: Iterable[float]) -> float | None:
    numbers = sorted(values)  # sorted: the sum does not depend on the order in which answers came
    return fmean(numbers) if numbers else None


def _clip(p: float) -> float:
    return min(1.0, max(0.0, p))  # rounding of a weighted mean may leave [0, 1] by an ulp
