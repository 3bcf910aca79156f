"""Calibration of a scalar model on held-out soft labels: as it is, and under one temperature (arXiv 1706.04599 §4.2).

Deviation from the usual diagram: with soft labels no side is simply right. What is held against the model's confidence
in its side is the probability that the labels give to that side; for labels of 0 and 1 that is the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlaif.critique.agreement import reliability
from rlaif.formulas import calibration
from rlaif.records.trained import Calibration, Fit


def calibrated(margins: Sequence[float], p: Sequence[float], fold: Sequence[bool]) -> Calibration:
    """Measure sigma(margin) as P(first is better) against the labels p.

    Args:
        fold: which half of the prompts a pair is of. Each half is measured under the other's temperature.

    Raises:
        ValueError: there are no pairs, or a number is not finite.
    """
    margin_N, p_N = (torch.tensor(column, dtype=torch.float64) for column in (margins, p))
    tempered_N = cross_fitted(margin_N, p_N, torch.tensor(fold))
    return Calibration(
        temperature=calibration.temperature(margin_N, p_N) if tempered_N is not None else None,
        before=fit(margin_N.sigmoid(), p_N),
        after=None if tempered_N is None else fit(tempered_N.sigmoid(), p_N),
    )


def cross_fitted(margin_N: Tensor, p_N: Tensor, fold_N: Tensor) -> Tensor | None:
    """Margins over the temperature of the other fold; None where a fold is empty or has no best temperature."""
    tempered_N = torch.zeros_like(margin_N)
    for own_N in (fold_N, ~fold_N):
        if not own_N.any() or own_N.all():
            return None
        temperature = calibration.temperature(margin_N[~own_N], p_N[~own_N])
        if temperature is None:
            return None
        tempered_N[own_N] = margin_N[own_N] / temperature
    return tempered_N


def fit(probability_N: Tensor, p_N: Tensor) -> Fit:
    """How far probabilities and labels are apart."""
    first_N = probability_N >= 0.5
    confidence_N = torch.where(first_N, probability_N, 1 - probability_N)
    held_N = torch.where(probability_N == 0.5, 0.5, torch.where(first_N, p_N, 1 - p_N))
    return Fit(
        ece=calibration.ece(confidence_N, held_N),
        ece_equal_mass=calibration.ece(confidence_N, held_N, equal_mass=True),
        brier=calibration.brier(probability_N, p_N),
        nll=calibration.nll(probability_N, p_N),
        reliability=reliability(confidence_N.tolist(), held_N.tolist()),
    )
