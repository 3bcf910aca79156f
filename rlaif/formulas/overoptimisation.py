"""How the true score rises and falls as a policy is optimised against a proxy (Gao et al., arXiv 2210.10760).

With d = sqrt(KL from the start), and the true score counted from 0 there:

    best-of-n   R(d) = d (alpha - beta d)        peak at d* = alpha / (2 beta)
    RL          R(d) = d (alpha - beta ln d)     peak at d* = exp(alpha / beta - 1)

Both are linear in alpha and beta, so that the fit is least squares. The RL form is invalid near d = 0, and neither says
anything about places where nothing was measured.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Form = Literal["best_of_n", "rl"]


class Curve(NamedTuple):
    """A fitted curve. `peak` is d*, None where the fit never bends down; `r_squared` is of R itself, None where the
    measured scores are all equal."""

    form: Form
    alpha: float
    beta: float
    peak: float | None
    r_squared: float | None

    def at(self, d: float) -> float:
        """The score that the curve gives at distance d >= 0."""
        if d == 0:
            return 0.0
        return d * (self.alpha - self.beta * (d if self.form == "best_of_n" else math.log(d)))


def fit(d_N: Tensor, score_N: Tensor, form: Form) -> Curve:
    """The least-squares curve through measured (d, score).

    Args:
        d_N: distances, at least 0; those that are 0 say nothing, because every curve passes there.
        score_N: scores less that of the start.

    Raises:
        ValueError: fewer than two different positive distances, or a number that is not finite.
    """
    d_N, score_N = d_N.double(), score_N.double()
    if not bool(torch.isfinite(torch.cat([d_N, score_N])).all()) or bool((d_N < 0).any()):
        raise ValueError("distances must be at least 0, and all numbers finite")
    far = d_N > 0
    d_N, score_N = d_N[far], score_N[far]
    if len(set(d_N.tolist())) < 2:
        raise ValueError("a curve needs two different distances above 0")
    bend_N = -d_N * (d_N if form == "best_of_n" else d_N.log())
    features_N2 = torch.stack([d_N, bend_N], dim=1)
    alpha, beta = torch.linalg.lstsq(features_N2, score_N.unsqueeze(1)).solution.flatten().tolist()
    total = float((score_N - score_N.mean()).square().sum())
    residual = float((score_N - features_N2 @ torch.tensor([alpha, beta], dtype=torch.float64)).square().sum())
    return Curve(form, alpha, beta, _peak(alpha, beta, form), 1 - residual / total if total > 0 else None)


def _peak(alpha: float, beta: float, form: Form) -> float | None:
    if beta <= 0:
        return None
    if form == "best_of_n":
        return alpha / (2 * beta) if alpha > 0 else None
    exponent = alpha / beta - 1
    return math.exp(exponent) if exponent < 50 else None  # further than any policy goes
