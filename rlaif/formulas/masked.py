"""Sums, means and whitening over the kept entries of a padded tensor.

Left out on purpose: a mean per row. Averaging row means weighs short rows more than long ones, and a row with nothing
kept would have no mean; everything here that averages over tokens does so over all kept tokens at once.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fill(values: Tensor, keep: Tensor) -> Tensor:
    """`values` where `keep`, 0 elsewhere; neither the value nor the gradient of an entry not kept passes through.

    Args:
        values: any shape, floating point.
        keep: boolean, same shape. A mask that broadcasts is refused, because its count would be wrong.

    Raises:
        ValueError: the shapes differ or `keep` is not boolean.
    """
    if values.shape != keep.shape or keep.dtype != torch.bool:
        raise ValueError(
            f"keep must be boolean and of shape {tuple(values.shape)}, got {keep.dtype} {tuple(keep.shape)}"
        )
    return torch.where(keep, values, 0.0)


def sum(values: Tensor, keep: Tensor, dim: int | None = None) -> Tensor:
    """Sum of the kept entries, over everything or along `dim` (rows with nothing kept sum to 0)."""
    return fill(values, keep).sum(dim=dim)


def mean(values: Tensor, keep: Tensor) -> Tensor:
    """Mean of all kept entries, a scalar tensor.

    Raises:
        ValueError: nothing is kept.
    """
    count = int(keep.sum())
    if count == 0:
        raise ValueError("the mean of no kept entries does not exist")
    return sum(values, keep) / count


def whiten(
    values: Tensor, keep: Tensor, *, shift_mean: bool = True, unbiased: bool = False, epsilon: float = 1e-8
) -> Tensor:
    """Scale the kept entries to unit variance: (x - mean) / sqrt(var + epsilon); 0 where not kept.

    Ziegler et al. (arXiv 1909.08593), code; detail of N+ (arXiv 2403.17031), which uses the biased variance. TRL uses
    the unbiased one.

    Args:
        shift_mean: True leaves a mean of 0 (advantages); False adds the mean back afterwards (rewards).
        unbiased: divide the squared deviations by n - 1 instead of n.

    Raises:
        ValueError: too few entries are kept for the variance to exist.
    """
    count = int(keep.sum())
    divisor = count - 1 if unbiased else count
    if divisor < 1:
        raise ValueError(f"the variance of {count} kept entries does not exist")
    centre = mean(values, keep)
    deviations = fill(values - centre, keep)
    scaled = deviations * torch.rsqrt(deviations.square().sum() / divisor + epsilon)
    return scaled if shift_mean else fill(scaled + centre, keep)
