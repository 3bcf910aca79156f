"""What a guard's audits come to: which policy was kept, and how the scores rose and fell with the distance.

Held to what audits can say. A peak is named only where it lies between the nearest and the furthest audit, and stays in
its place whichever one audit is left out; otherwise there is the reason why not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rlaif.critique import guard as rules
from rlaif.ports import registry
from rlaif.ports.readout import Readout
from rlaif.records.guard import Audit, Exploit, Guard
from rlaif.records.report import GuardReport, OverOptimisation, Point

if TYPE_CHECKING:
    from rlaif.formulas.overoptimisation import Curve

LEAST = 4  # audits away from the start: two numbers are fitted, and one audit is left out at a time
FITS = 0.8  # least R squared of a curve whose peak means anything
STEADY = 1.5  # the highest of the peaks that leave one audit out, over the lowest
SHOWN = 12  # exploits in a report
DRAWN = 60  # pieces of a fitted curve


def read(readout: Readout, guard: Guard | None, *, finished: bool) -> GuardReport | None:
    """The guard's report; None where nothing was audited.

    Args:
        guard: the run file's, whose rules say what follows; None where that is not known.
        finished: the policy is trained.
    """
    audits = list(readout.rows("policy/audits.jsonl", Audit, "audits"))
    if not audits:
        return None
    exploits = list(readout.rows("policy/exploits.jsonl", Exploit, "exploits"))
    actions: dict[str, str] = {rule.name: rule.then for rule in guard.rules} if guard else {}
    best = rules.best(guard.rules if guard else [], audits)
    rolled_back = any(actions.get(name) == "rollback" for name in audits[-1].fired)
    last = max((row.step for row in readout.metrics("policy/metrics.jsonl")), default=None)
    ended = best.update if rolled_back and best else last
    return GuardReport(
        audits=audits,
        critic=guard.critic if guard else None,
        actions=actions,
        best=best.update if best else None,
        kept=ended if finished else None,
        rolled_back=rolled_back and finished,
        fits=[over_optimisation("critic", audits), over_optimisation("proxy", audits)],
        exploits=sorted(exploits, key=lambda own: own.p)[:SHOWN],
        exploit_count=len(exploits),
    )


def over_optimisation(of: Literal["critic", "proxy"], audits: Sequence[Audit]) -> OverOptimisation:
    """The curve through the audits: of the critic's win rate less one half, or of the proxy less the reference's."""
    points = [
        Point(update=audit.update, d=math.sqrt(max(audit.kl, 0.0)), score=score)
        for audit in audits
        if (score := _score(of, audit)) is not None
    ]
    far = [point for point in points if point.d > 0]
    if len({point.d for point in far}) < LEAST:
        few = f"{len(far)} audits away from the start are too few to fit a curve to"
        return OverOptimisation(of=of, points=points, reason=few)

    def fitted(some: Sequence[Point]) -> Curve:
        curve: Curve = registry.load("measure", "overoptimised")([p.d for p in some], [p.score for p in some])
        return curve

    curve, furthest = fitted(far), max(p.d for p in far)
    others = [fitted([*far[:i], *far[i + 1 :]]).peak for i in range(len(far))]
    reason = _unidentified(curve, others, min(p.d for p in far), furthest)
    known = [peak for peak in others if peak is not None]
    return OverOptimisation(
        of=of,
        points=points,
        alpha=curve.alpha,
        beta=curve.beta,
        r_squared=curve.r_squared,
        line=[(d, curve.at(d)) for d in (furthest * i / DRAWN for i in range(DRAWN + 1))],
        peak=None if reason else curve.peak,
        peaks=(min(known), max(known)) if known and not reason else None,
        reason=reason,
    )


def _score(of: str, audit: Audit) -> float | None:
    if of == "critic":
        value = rules.value(audit)
        return None if value is None else value - 0.5
    return None if audit.proxy is None or audit.reference_proxy is None else audit.proxy - audit.reference_proxy


def _unidentified(curve: Curve, others: Sequence[float | None], nearest: float, furthest: float) -> str | None:
    """Why these audits do not say where the curve peaks; None where they do."""
    peak = curve.peak
    if peak is None or peak > 10 * furthest:
        return "the fitted curve does not bend down anywhere near the audits"
    if peak > furthest:
        return f"the fitted curve would bend down at d = {peak:.2f}, past the furthest audit: no peak was seen"
    if peak < nearest:
        return f"the fitted curve would peak at d = {peak:.2f}, before the first audit, where its form is not valid"
    if curve.r_squared is None or curve.r_squared < FITS:
        return "the curve does not follow the audits well enough for its peak to mean anything"
    known = [other for other in others if other is not None]
    if len(known) < len(others) or max(known) > STEADY * min(known):
        return "leaving out a single audit moves the peak too far, or takes it away"
    return None
