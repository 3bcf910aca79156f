"""Do probabilities mean what they say? Errors of calibration, and one fitted temperature to mend them.

`probability` is a predicted P(first preferred), `p` the label's; both may be soft. Data sets are shaped (N,).

Left out: intervals for rates, which need no tensors (`rlaif.critique.agreement.wilson`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOG_SCALE_RANGE = 14.0  # temperatures from e^-14 to e^14, about a millionth to a million


def _require_examples(*columns: Tensor) -> None:
    shapes = {tuple(column.shape) for column in columns}
    if len(shapes) != 1 or columns[0].ndim != 1 or columns[0].numel() == 0:
        raise ValueError(f"expected equal, non-empty shapes (N,), got {sorted(shapes)}")
    if not all(bool(torch.isfinite(column).all()) for column in columns):
        raise ValueError("an entry is not finite")


def ece(confidence_N: Tensor, correct_N: Tensor, *, bins: int = 10, equal_mass: bool = False) -> float:
    """Expected calibration error: sum over bins of n_b / N * |mean correct - mean confidence|.

    Guo et al. (arXiv 1706.04599) Eq. 3; equal-mass bins: Nixon et al. (arXiv 1904.01685) §3. Equal confidences share a
    bin in both modes, so the order of the examples is of no account.

    Args:
        confidence_N: probability of the side that was chosen, max(q, 1 - q), in [0, 1].
        correct_N: 1 right, 0 wrong, 0.5 for a tie.
        equal_mass: bin edges at quantiles of the confidences instead of equally spaced over [0, 1].

    Raises:
        ValueError: there are no examples, or shapes differ, or an entry is not finite.
    """
    confidence_N, correct_N = confidence_N.double(), correct_N.double()
    _require_examples(confidence_N, correct_N)
    steps = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence_N.device)[1:-1]
    edges = torch.quantile(confidence_N, steps) if equal_mass else steps
    bin_N = torch.bucketize(confidence_N, edges)
    gap_b = torch.zeros(bins, dtype=torch.float64, device=confidence_N.device)
    gap_b.index_add_(0, bin_N, correct_N - confidence_N)
    return float(gap_b.abs().sum() / confidence_N.numel())


def brier(probability_N: Tensor, p_N: Tensor) -> float:
    """Mean squared difference of prediction and label, 0 best (Brier 1950, for two outcomes counted once).

    Raises:
        ValueError: there are no examples, or shapes differ, or an entry is not finite.
    """
    _require_examples(probability_N, p_N)
    return float((probability_N - p_N).square().mean())


def nll(probability_N: Tensor, p_N: Tensor) -> float:
    """Mean cross-entropy -p log q - (1 - p) log(1 - q) in nats; infinite where a certain prediction was wrong.

    Raises:
        ValueError: there are no examples, or shapes differ, or an entry is not finite.
    """
    _require_examples(probability_N, p_N)
    return float(-(torch.xlogy(p_N, probability_N) + torch.special.xlog1py(1 - p_N, -probability_N)).mean())


def temperature(difference_N: Tensor, p_N: Tensor) -> float | None:
    """The one temperature tau that minimises the soft cross-entropy of sigma(difference / tau) against p.

    Temperature scaling, Guo et al. (arXiv 1706.04599) §4.2, on soft labels. The loss is convex in 1/tau; its slope
    mean(d * (sigma(d / tau) - p)) is brought to zero by bisection.

    Returns:
        tau, or None where no positive finite tau is best: the scores agree with the labels no better than chance, or
        hard labels are predicted without a single error.

    Raises:
        ValueError: there are no examples, or shapes differ, or an entry is not finite.
    """
    difference_N, p_N = difference_N.double(), p_N.double()
    _require_examples(difference_N, p_N)

    def slope(log_scale: float) -> float:
        return float((difference_N * (torch.sigmoid(math.exp(log_scale) * difference_N) - p_N)).mean())

    low, high = -_LOG_SCALE_RANGE, _LOG_SCALE_RANGE
    if slope(low) >= 0 or slope(high) <= 0:
        return None
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
