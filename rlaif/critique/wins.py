"""Win rates: how often one model's replies are preferred to another's, plain and for replies of equal length.

A reply wins where P(it is better), the mean of both orders, is above one half; at one half exactly it is a tie, which
counts one half of a win. What was not answered is counted, and is neither.

Corrected for length (after AlpacaEval 2, arXiv 2404.04475, without its terms for models and instructions): with d_i the
characters by which the model's reply is longer and s the standard deviation of d, the scores y_i in {0, 1/2, 1} are
fitted by

    P(win_i) = sigma(theta + phi tanh(d_i / s)),

and the corrected rate is sigma(theta), what the fit says of d = 0; its interval is
sigma(theta ± 1.96 SE(theta)). Without a difference of lengths, sigma(theta) would be the plain win rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev

from rlaif.critique import logistic
from rlaif.critique.agreement import Z, score, wilson
from rlaif.records.agreement import Interval
from rlaif.records.evaluation import Corrected, Rate


def rate(probabilities: Sequence[float | None]) -> Rate:
    """The win rate of P(the model's reply is better) over pairs; None is a pair without an answer."""
    known = [p for p in probabilities if p is not None]
    scores = [score(p, 0) for p in known]
    return Rate(
        interval=wilson(math.fsum(scores), len(scores)),
        probability=fmean(known) if known else None,
        wins=scores.count(1.0),
        ties=scores.count(0.5),
        losses=scores.count(0.0),
        missing=len(probabilities) - len(known),
    )


def longer_wins(probabilities: Sequence[float | None], longer_by: Sequence[int]) -> Interval:
    """How often the longer reply wins, of those that differ in length."""
    pairs = zip(probabilities, longer_by, strict=True)
    scores = [score(p, int(d < 0)) for p, d in pairs if p is not None and d]
    return wilson(math.fsum(scores), len(scores))


def corrected(probabilities: Sequence[float | None], longer_by: Sequence[int]) -> Corrected:
    """The win rate at equal length; see the top of the file.

    Args:
        longer_by: characters by which the model's reply is longer.
    """
    rows = [(score(p, 0), d) for p, d in zip(probabilities, longer_by, strict=True) if p is not None]
    lengths = [float(d) for _, d in rows]
    if (reason := _not_identifiable(rows)) is not None:
        return Corrected(n=len(rows), reason=reason)
    spread = pstdev(lengths)
    try:
        fit = logistic.fit([logistic.Row((1.0, math.tanh(d / spread)), y) for y, d in rows])
    except ArithmeticError as error:
        return Corrected(n=len(rows), reason=f"the regression has no solution: {error}")
    theta, slope = fit.coefficients
    half = Z * math.sqrt(max(0.0, fit.covariance[0][0]))
    return Corrected(
        value=logistic.sigmoid(theta),
        low=logistic.sigmoid(theta - half),
        high=logistic.sigmoid(theta + half),
        slope=slope,
        n=len(rows),
        extrapolated=min(lengths) > 0 or max(lengths) < 0,
    )


def _not_identifiable(rows: Sequence[tuple[float, int]]) -> str | None:
    """Why no coefficients fit best, if none do.

    The lengths of won and of lost pairs must overlap: where every win is at least as long as every loss, or the other
    way, a steeper slope always fits better (Albert and Anderson 1984). A tie is half of each.
    """
    if not rows:
        return "no pair was answered"
    if len({d for _, d in rows}) == 1:
        return "all replies differ by the same length, so that length tells nothing"
    won, lost = [d for y, d in rows if y > 0], [d for y, d in rows if y < 1]
    if not won or not lost:
        return f"the model {'lost' if not won else 'won'} every pair, whatever its length"
    if min(won) >= max(lost):
        return "the model won only with its longer replies: length and preference cannot be told apart"
    if max(won) <= min(lost):
        return "the model won only with its shorter replies: length and preference cannot be told apart"
    return None
