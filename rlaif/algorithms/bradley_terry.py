"""Reward models from soft preference labels.

Labels come as probabilities with weights: weight 0 is an abstention, and contributes nothing at all. Soft labels put a
floor under the loss, so what says how well a model fits is `kl_to_target`, which is 0 for a perfect one.

A margin (Llama 2, arXiv 2307.09288 Eq. 2) changes what is minimised; what is reported as cross-entropy is without it.

Deviation from TRL: the centring term is weighted like the label it comes with, so that it too is a weighted mean.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rlaif.batches import require_finite
from rlaif.formulas import masked, preference


class Config(BaseModel):
    """Settings of reward modelling."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    centering_coefficient: float = Field(
        default=0.01, ge=0, description="weight of (first + second)^2, which centres scores"
    )
    margin: float = Field(
        default=0.0, ge=0, description="by how much the preferred reply should be ahead at least, in units of score"
    )


class Loss(NamedTuple):
    """A micro-batch's share of the loss of its minibatch. `total` alone is differentiated.

    stats: loss, cross_entropy, kl_to_target (cross-entropy minus the labels' entropy), centering (before its
    coefficient), and accuracy (the model prefers the side that the label prefers; a tie on either side counts 0.5).
    """

    total: Tensor
    cross_entropy: Tensor
    kl_to_target: Tensor
    stats: dict[str, Tensor]


def loss(
    first_B: Tensor, second_B: Tensor, p_B: Tensor, weight_B: Tensor, config: Config, *, weight_total: float
) -> Loss:
    """The share of some pairs in the weighted mean of soft Bradley-Terry loss plus centring.

    Args:
        first_B: scores of the first responses, with gradient. second_B: of the second.
        p_B: probability that the first is better. weight_B: at least 0; where 0, scores and p may be anything.
        weight_total: sum of the weights of the *whole* minibatch. Under data-parallel gradient averaging, all ranks'
            weights divided by the number of ranks.

    Raises:
        RunHalted: a score of a pair with weight is not finite.
        ValueError: a label is not a probability, a weight is negative or not finite, or weight_total is not positive.
    """
    if not weight_total > 0:
        raise ValueError(f"weight_total must be positive, got {weight_total}")
    if not bool(((weight_B >= 0) & weight_B.isfinite()).all()):
        raise ValueError("a label weight is negative or not finite")
    used_B = weight_B > 0
    require_finite("the score of a first response", first_B, used_B)
    require_finite("the score of a second response", second_B, used_B)
    first_B, second_B, p_B = (masked.fill(x, used_B) for x in (first_B, second_B, p_B))
    share_B = weight_B / weight_total
    difference_B = first_B - second_B
    cross_entropy = (share_B * preference.soft_bradley_terry(difference_B, p_B)).sum()
    ahead = (share_B * preference.soft_bradley_terry(difference_B, p_B, least=config.margin)).sum()
    centering = (share_B * preference.centering(first_B, second_B)).sum()
    total = ahead + config.centering_coefficient * centering
    kl_to_target = cross_entropy.detach() - (share_B * preference.floor(p_B)).sum()
    agreement_B = 0.5 + 0.5 * (first_B - second_B).detach().sign() * (p_B - 0.5).sign()
    stats = {
        "loss": total.detach(),
        "cross_entropy": cross_entropy.detach(),
        "kl_to_target": kl_to_target,
        "centering": centering.detach(),
        "accuracy": (share_B * agreement_B).sum(),
    }
    return Loss(total, cross_entropy.detach(), kl_to_target, stats)
