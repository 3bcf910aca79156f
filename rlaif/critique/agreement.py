"""How far a critic agrees with known choices: accuracy with its interval, calibration, swap consistency, position.

Plain Python on lists, so that measuring a critic behind an API loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif.records.agreement import Agreement, Interval
from rlaif.records.label import Label


def wilson(successes: float, n: int, z: float = 1.959964) -> Interval:
    """Wilson's score interval for a proportion (Wilson 1927, eq. 4); half successes are allowed for ties."""
    if n == 0:
        return Interval(value=None, low=None, high=None, n=0)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(value=p, low=max(0.0, centre - half), high=min(1.0, centre + half), n=n)


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[float], bins: int = 10) -> float | None:
    """ECE = sum_b (n_b / N) |accuracy_b - confidence_b| over equal-width bins (Guo et al. 2017, eq. 3)."""
    if not confidences:
        return None
    members: dict[int, list[int]] = {}
    for index, confidence in enumerate(confidences):
        members.setdefault(min(bins - 1, int(confidence * bins)), []).append(index)
    return sum(
        abs(sum(correct[i] for i in rows) - sum(confidences[i] for i in rows)) / len(confidences)
        for rows in members.values()
    )


def score(p: float, preferred: int) -> float:
    """1 where P(first) = p agrees with the choice, 0 where it does not, one half at exactly 0.5."""
    if p == 0.5:
        return 0.5
    return float((p > 0.5) == (preferred == 0))


def agreement(labels: Sequence[Label]) -> Agreement:
    """Measure labels of pairs whose choice is known (`pair.preferred`); others are ignored."""
    known = [x for x in labels if x.pair.preferred is not None]
    judged = [(x.p, x.pair.preferred) for x in known if x.p is not None and x.pair.preferred is not None]
    correct = [score(p, preferred) for p, preferred in judged]
    consistent = [x.order_consistent for x in known if x.order_consistent is not None]
    biases = [x.position_bias for x in known if x.position_bias is not None]
    by_principle: dict[str, list[float]] = {}
    for entry in known:
        for vote in entry.votes:
            if vote.p is not None and entry.pair.preferred is not None:
                by_principle.setdefault(vote.principle_id, []).append(score(vote.p, entry.pair.preferred))
    return Agreement(
        pairs=len(known),
        failed=len(known) - len(judged),
        accuracy=wilson(sum(correct), len(correct)),
        swap_consistency=wilson(sum(consistent), len(consistent)),
        first_position=0.5 + sum(biases) / len(biases) if biases else None,
        ece=expected_calibration_error([max(p, 1 - p) for p, _ in judged], correct),
        by_principle={name: wilson(sum(s), len(s)) for name, s in sorted(by_principle.items())},
    )
