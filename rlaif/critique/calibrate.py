"""One temperature for a critic's labels, fitted on known choices (Guo et al. 2017, arXiv 1706.04599 §4.2).

sigmoid(logit(p) / T) with the T that has the least negative log-likelihood (NLL). In 1/T that is logistic regression
with one coefficient and no constant, hence convex, and golden section over log T finds the minimum. A temperature
changes no winner: it mends how sure labels are, not which are right.

Labels of exactly 0 or 1 are left out and counted: no temperature moves them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rlaif.critique.agreement import expected_calibration_error
from rlaif.records.errors import InputError

LOWEST, HIGHEST = 0.01, 100.0  # temperatures that are tried; an optimum outside is reported as the bound
GOLDEN = (math.sqrt(5) - 1) / 2


class Calibration(NamedTuple):
    """NLL in nats and ECE (ten bins) of `n` labels, at temperature 1 and at the fitted one."""

    temperature: float
    standard_error: float  # of the temperature, from the curvature at the minimum
    n: int
    certain: int  # labels of exactly 0 or 1, left out
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def fit_temperature(known: Sequence[tuple[float, float]]) -> Calibration:
    """Fit on (P(first is better), choice): 1 where the first was chosen, 0 where the second was, between where people
    disagreed.

    Raises:
        InputError: nothing to fit on; every label is right, so that nothing bounds T from below; or labels are no
            better than chance, so that nothing bounds it from above.
    """
    rows = [(math.log(p / (1 - p)), y) for p, y in known if 0 < p < 1]
    if not rows:
        found = f"{len(known)} labels have a known choice" + (", all of exactly 0 or 1" if known else "")
        raise InputError(f"no temperature can be fitted: {found}", fix="name a file of pairs with choices: --gold FILE")
    if math.fsum((y - 0.5) * z for z, y in rows) <= 0:
        problem = f"no temperature can be fitted: on {len(rows)} known choices the labels are no better than chance"
        raise InputError(problem, fix="look at the critic with `rlaif critic test` before using its labels")
    if all(y == 1 if z > 0 else y == 0 for z, y in rows if z):
        problem = f"no temperature can be fitted: all {len(rows)} known choices are on the labels' side"
        raise InputError(problem, fix="give more known choices, some of which the critic gets wrong")
    log_t = _least(lambda x: _nll(rows, math.exp(x)), math.log(LOWEST), math.log(HIGHEST))
    temperature = next((b for b in (LOWEST, HIGHEST) if log_t == math.log(b)), math.exp(log_t))
    sharpness = math.fsum(z * z * q * (1 - q) for z, q in ((z, _sigmoid(z / temperature)) for z, _ in rows))
    return Calibration(
        temperature=temperature,
        standard_error=temperature**2 / math.sqrt(sharpness),  # the delta method on 1 / T
        n=len(rows),
        certain=len(known) - len(rows),
        nll_before=_nll(rows, 1.0),
        nll_after=_nll(rows, temperature),
        ece_before=_ece(rows, 1.0),
        ece_after=_ece(rows, temperature),
    )


def describe(fit: Calibration) -> str:
    """The fit as a line for a person."""
    bound = " (the bound: the optimum lies beyond)" if fit.temperature in (LOWEST, HIGHEST) else ""
    left_out = f"; {fit.certain} of exactly 0 or 1 left out" if fit.certain else ""
    return (
        f"temperature {fit.temperature:.3f} ± {fit.standard_error:.3f}{bound} on {fit.n} known choices{left_out}: "
        f"NLL {fit.nll_before:.4f} -> {fit.nll_after:.4f}, ECE {fit.ece_before:.4f} -> {fit.ece_after:.4f}"
    )


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Golden-section search for the minimum of a function with one valley; a bound itself where that is the least."""
    first, last = low, high
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_a, at_b = function(a), function(b)
    while high - low > 1e-9:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - GOLDEN * (high - low)
            at_a = function(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + GOLDEN * (high - low)
            at_b = function(b)
    return min((first, (low + high) / 2, last), key=function)


def _nll(rows: Sequence[tuple[float, float]], temperature: float) -> float:
    return math.fsum(y * _softplus(-z / temperature) + (1 - y) * _softplus(z / temperature) for z, y in rows) / len(
        rows
    )


def _ece(rows: Sequence[tuple[float, float]], temperature: float) -> float:
    confidences = [_sigmoid(abs(z) / temperature) for z, _ in rows]
    correct = [0.5 if z == 0 else y if z > 0 else 1 - y for z, y in rows]
    return expected_calibration_error(confidences, correct) or 0.0


def _sigmoid(x: float) -> float:
    return 0.5 + 0.5 * math.tanh(x / 2)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
