"""KL divergence between policy and reference: estimators per token, the adaptive coefficient, and best-of-n.

With x = log pi(a) - log pi_ref(a) at a token a sampled from pi, all three estimators have something to do with
KL(pi || pi_ref), but their gradients differ, so they are not interchangeable:

- inside a reward (score-function gradient), only `k1` points along the gradient of the KL;
- as a loss that is differentiated directly, `k2` does, `k1` has expected gradient zero, and `k3` gives the gradient of
  the *forward* KL(pi_ref || pi).

They are elementwise and take no mask: to differentiate `k2` or `k3` of padded tensors, `masked.fill` their arguments.

Estimators: J. Schulman, "Approximating KL Divergence", 2020. Gradients: arXiv 2512.21852.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlaif.formulas import masked


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """x = log pi - log pi_ref, elementwise: unbiased, may be negative. The KL penalty of rewards (Schulman 2020)."""
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """x^2 / 2, elementwise: biased, never negative, low variance (Schulman 2020)."""
    return (logprobs - ref_logprobs).square() / 2


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(-x) - 1 + x, elementwise: unbiased and never negative (Schulman 2020)."""
    log_ratio = logprobs - ref_logprobs
    return torch.expm1(-log_ratio) + log_ratio


def mean_per_sequence(kl_BT: Tensor, keep_BT: Tensor) -> Tensor:
    """Sum over the kept tokens of a row, then the mean over rows that have any: what the adaptive controller observes.

    Raises:
        ValueError: nothing is kept.
    """
    rows = int(keep_BT.any(dim=1).sum())
    if rows == 0:
        raise ValueError("the mean over no kept sequences does not exist")
    return masked.sum(kl_BT, keep_BT) / rows


def adaptive_coefficient(coefficient: float, observed: float, target: float, episodes: int, horizon: float) -> float:
    """The KL coefficient for the next update: beta * (1 + e * episodes / horizon), e = clip(KL/target - 1, -0.2, 0.2).

    Ziegler et al. (arXiv 1909.08593) §2.2, with its code's step size episodes/horizon.

    Args:
        observed: KL in nats summed over each sequence and averaged over the batch (`mean_per_sequence` of `k1`).
        target: KL in nats per sequence to settle at.
        episodes: sequences in the batch that was observed.
        horizon: sequences over which a constant error of 100 % would double the coefficient.

    Raises:
        ValueError: `observed` is not finite, or target or horizon is not positive.
    """
    if not math.isfinite(observed):
        raise ValueError(f"observed KL is {observed}")
    if not (target > 0 and horizon > 0):
        raise ValueError(f"target and horizon must be positive, got {target} and {horizon}")
    error = max(-0.2, min(0.2, observed / target - 1))
    return coefficient * (1 + error * episodes / horizon)


def best_of_n(n: int) -> float:
    """log n - (n - 1) / n: KL in nats of best-of-n sampling from the model that it samples from.

    Stiennon et al. (arXiv 2009.01325) App. G.3. An upper bound where several responses can be the same
    (arXiv 2401.01879).

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.log(n) - (n - 1) / n
