"""Logistic regression by maximum likelihood, for a handful of coefficients: plain Python, by Newton's method.

P(y = 1 | x) = sigma(x . b). Outcomes between 0 and 1 count as so much of a 1 and so much of a 0. The likelihood is
concave, and Newton's steps are halved until it rises; whether it has a maximum at all is for the caller to know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

STEPS = 200
ENOUGH = 1e-10  # a step this small is the last


class Row(NamedTuple):
    """An observation: features, the outcome in [0, 1], and how many of its kind there are."""

    x: Sequence[float]
    y: float
    weight: float = 1.0


class Fit(NamedTuple):
    """The coefficients, and their covariance: the inverse of the observed information."""

    coefficients: list[float]
    covariance: list[list[float]]


def fit(rows: Sequence[Row]) -> Fit:
    """The coefficients of highest likelihood.

    Raises:
        ArithmeticError: there is no finite maximum, or the features depend on each other.
    """
    size = len(rows[0].x)
    own = [0.0] * size
    value = _log_likelihood(rows, own)
    for _ in range(STEPS):
        gradient, information = _derivatives(rows, own)
        step = [math.fsum(a * g for a, g in zip(line, gradient, strict=True)) for line in _inverse(information)]
        scale, following = 1.0, value
        while scale > ENOUGH:
            moved = [b + scale * s for b, s in zip(own, step, strict=True)]
            following = _log_likelihood(rows, moved)
            if following >= value:
                own = moved
                break
            scale /= 2
        if scale * max(map(abs, step)) < ENOUGH or scale <= ENOUGH:
            return Fit(own, _inverse(_derivatives(rows, own)[1]))
        value = following
    raise ArithmeticError("the likelihood has no finite maximum")


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _log_likelihood(rows: Sequence[Row], own: Sequence[float]) -> float:
    """sum w (y z - log(1 + exp z)), z = x . b"""
    zs = [_dot(row.x, own) for row in rows]
    softplus = [max(z, 0.0) + math.log1p(math.exp(-abs(z))) for z in zs]
    return math.fsum(row.weight * (row.y * z - s) for row, z, s in zip(rows, zs, softplus, strict=True))


def _derivatives(rows: Sequence[Row], own: Sequence[float]) -> tuple[list[float], list[list[float]]]:
    """The gradient sum w (y - p) x, and the information sum w p (1 - p) x x'."""
    size = len(own)
    gradient, information = [0.0] * size, [[0.0] * size for _ in range(size)]
    for row in rows:
        p = sigmoid(_dot(row.x, own))
        for i in range(size):
            gradient[i] += row.weight * (row.y - p) * row.x[i]
            for j in range(size):
                information[i][j] += row.weight * p * (1 - p) * row.x[i] * row.x[j]
    return gradient, information


def _dot(x: Sequence[float], own: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(x, own, strict=True))


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Gauss and Jordan's elimination, the largest pivot first."""
    size = len(matrix)
    rows = [[*line, *(float(i == j) for j in range(size))] for i, line in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(rows[r][column]))
        if abs(rows[pivot][column]) < 1e-300:
            raise ArithmeticError("the features depend on each other")
        rows[column], rows[pivot] = rows[pivot], rows[column]
        head = rows[column][column]
        rows[column] = [value / head for value in rows[column]]
        for other in range(size):
            if other != column and (factor := rows[other][column]):
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[column], strict=True)]
    return [row[size:] for row in rows]
