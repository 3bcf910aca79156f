"""How well a model knows the right answers of questions with choices, and how well it knows that it does.

The probabilities of the choices are scaled to a sum of 1; the most probable one is the answer, and its probability the
confidence. Where several choices are right, any of them will do; where several are equally probable, the share of right
ones among them counts. Calibration is the expected calibration error over ten bins (Guo et al. 2017, eq. 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from rlaif.critique.agreement import expected_calibration_error, reliability, wilson
from rlaif.records.evaluation import Choices


def measure(read: Sequence[tuple[Sequence[float] | None, Sequence[int]]]) -> Choices:
    """Accuracy and calibration.

    Args:
        read: of each question the log-probabilities of its choices, None where they could not be read, and the numbers
            of the right ones.
    """
    confidences: list[float] = []
    correct: list[float] = []
    masses: list[float] = []
    for logprobs, answers in read:
        if logprobs is None:
            continue
        highest = max(logprobs)
        weights = [math.exp(value - highest) for value in logprobs]
        top = [i for i, value in enumerate(logprobs) if value == highest]
        confidences.append(1 / math.fsum(weights))
        correct.append(sum(i in answers for i in top) / len(top))
        masses.append(min(1.0, math.exp(highest) * math.fsum(weights)))
    return Choices(
        accuracy=wilson(math.fsum(correct), len(correct)),
        ece=expected_calibration_error(confidences, correct),
        reliability=reliability(confidences, correct),
        on_choices=fmean(masses) if masses else None,
        failed=len(read) - len(confidences),
    )


def unread(count: int, reason: str) -> Choices:
    """Of a model whose choices cannot be read."""
    return Choices(accuracy=wilson(0, 0), ece=None, reliability=[], on_choices=None, failed=count, reason=reason)
