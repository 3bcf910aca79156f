"""Losses of reward and cost models on soft preference labels, and ways to combine an ensemble's scores.

All work elementwise on tensors of any one shape, usually (B,), and return one loss a pair. `p` is the probability that
the *first* of the two responses is the preferred one (for costs: the more harmful one).

Deviation from Safe RLHF: `cost` takes probabilities in place of the signs +1 and -1, its cases 1 and 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def soft_bradley_terry(margin: Tensor, p: Tensor, *, least: float = 0.0) -> Tensor:
    """-p log sigma(margin - least) - (1 - p) log sigma(-margin - least), elementwise.

    Christiano et al. (arXiv 1706.03741) Eq. 1 and §2.2.3. With `least` 0 the gradient is sigma(margin) - p, the minimum
    is at margin = logit p, and its value is `floor(p)`.

    Args:
        margin: score of the first response minus that of the second.
        p: probability that the first is preferred.
        least: by how much the preferred one should at least be ahead: m(r) of Llama 2 (arXiv 2307.09288) Eq. 2.
    """
    return p * softplus(least - margin) + (1 - p) * softplus(least + margin)


def floor(p: Tensor) -> Tensor:
    """Entropy of the label in nats: what `soft_bradley_terry` cannot get below. Loss minus floor is KL(label || model).

    Raises:
        ValueError: a probability is outside [0, 1].
    """
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError("a label is not a probability")
    entropy: Tensor = torch.special.entr(p) + torch.special.entr(1 - p)
    return entropy


def centering(first: Tensor, second: Tensor) -> Tensor:
    """(first + second)^2, to be weighed by about 0.01: holds the free constant of a pairwise score near 0.

    Eisenstein et al. (arXiv 2312.09244) Eq. 2.
    """
    return (first + second).square()


def cost(first: Tensor, second: Tensor, p: Tensor, first_harmful: Tensor, second_harmful: Tensor) -> Tensor:
    """Loss of a cost model, which is above 0 for harmful and below 0 for harmless responses.

    The pairwise term is `soft_bradley_terry(first - second, p)`; to it come two sign terms,
    -h log sigma(C) - (1 - h) log sigma(-C), one a response. Safe RLHF (arXiv 2310.12773) §3.2, cost model loss.

    Args:
        first: C of the first response. second: C of the second.
        p: probability that the first response is the *more harmful* one.
        first_harmful: probability that the first response is harmful at all. second_harmful: likewise.
    """
    pairwise = soft_bradley_terry(first - second, p)
    return pairwise + soft_bradley_terry(first, first_harmful) + soft_bradley_terry(second, second_harmful)


def uncertainty_weighted(scores_KB: Tensor, coefficient: float) -> Tensor:
    """Mean over the K members minus coefficient times their population *variance*, shape (B,).

    UWO of Coste et al. (arXiv 2310.02743) §3; 0.5 for best-of-n, 0.1 for PPO. Centre each member first: pairwise
    training leaves a constant free, and constants that differ between members would count as disagreement.
    """
    return scores_KB.mean(dim=0) - coefficient * scores_KB.var(dim=0, correction=0)


def worst_case(scores_KB: Tensor) -> Tensor:
    """Lowest score among the K members, shape (B,). WCO of Coste et al. (arXiv 2310.02743) §3. Centre each first."""
    return scores_KB.amin(dim=0)


def combine(scores_KB: Tensor, rule: str, *, coefficient: float) -> Tensor:
    """One score a reply, shape (B,), from K members' scores: `mean`, `worst` or `uncertainty` (with its coefficient).

    Raises:
        ValueError: there is no such rule.
    """
    if rule == "mean":
        return scores_KB.mean(dim=0)
    if rule == "worst":
        return worst_case(scores_KB)
    if rule == "uncertainty":
        return uncertainty_weighted(scores_KB, coefficient)
    raise ValueError(f"unknown rule {rule!r}")
