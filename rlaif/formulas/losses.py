"""The losses of PPO, per token.

Nothing here averages: every function returns one loss a token, 0 where not kept. Whoever accumulates gradients over
micro-batches sums them and divides by the token count of the *whole* minibatch; a mean per micro-batch would weigh
tokens by how they happened to be split.

Deviation from OpenRLHF: log-ratios are not clamped. A ratio that overflows is a fault of the run, and shows as a loss
or gradient that is not finite, which callers must check.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlaif.formulas import masked


class PolicyLoss(NamedTuple):
    """The clipped surrogate and what to watch of it, all (B, T).

    loss_BT: negated objective, to be minimised; 0 where not kept.
    ratio_BT: pi / pi_old; 0 where not kept.
    clipped_BT: True where a clip is in force, so that the token sends no gradient.
    """

    loss_BT: Tensor
    ratio_BT: Tensor
    clipped_BT: Tensor


def clipped_policy(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    keep_BT: Tensor,
    *,
    clip_range: float,
    dual_clip: float | None = None,
    importance_BT: Tensor | None = None,
) -> PolicyLoss:
    """max(-A rho, -A clip(rho, 1 - clip_range, 1 + clip_range)) with rho = pi / pi_old.

    PPO, Schulman et al. (arXiv 1707.06347) Eq. 7.

    Args:
        logprobs_BT: log pi of the sampled tokens, the only argument that is differentiated.
        old_logprobs_BT: log pi_old, recomputed by the trainer before the first step on this batch.
        dual_clip: c > 1; where A < 0, the loss is also held below -c A, so that one token with a huge ratio cannot
            dominate (Ye et al., arXiv 1912.09729, dual-clip PPO).
        importance_BT: weights pi_old / mu for tokens that another engine sampled; see `truncated_importance`.
    """
    ratio_BT = torch.exp(masked.fill(logprobs_BT - old_logprobs_BT, keep_BT))
    advantages_BT = masked.fill(advantages_BT, keep_BT)
    plain_BT = -advantages_BT * ratio_BT
    bounded_BT = -advantages_BT * ratio_BT.clamp(1 - clip_range, 1 + clip_range)
    loss_BT = torch.maximum(plain_BT, bounded_BT)
    clipped_BT = bounded_BT > plain_BT
    if dual_clip is not None:
        ceiling_BT = -dual_clip * advantages_BT
        held_BT = (advantages_BT < 0) & (loss_BT > ceiling_BT)
        loss_BT = torch.where(held_BT, ceiling_BT, loss_BT)
        clipped_BT = clipped_BT | held_BT
    if importance_BT is not None:
        loss_BT = loss_BT * masked.fill(importance_BT.detach(), keep_BT)
    return PolicyLoss(loss_BT, masked.fill(ratio_BT, keep_BT), clipped_BT)


def clipped_value(
    values_BT: Tensor, old_values_BT: Tensor, returns_BT: Tensor, keep_BT: Tensor, *, clip_range: float
) -> Tensor:
    """0.5 max((V - R)^2, (V_old + clip(V - V_old, -clip_range, clip_range) - R)^2), shape (B, T), 0 where not kept.

    OpenAI Baselines and Ziegler et al. (arXiv 1909.08593), code; not in the PPO paper.

    Args:
        values_BT: the value function being trained, the only argument that is differentiated.
        old_values_BT: its values before the first step on this batch.
        clip_range: in units of reward.
    """
    values_BT = masked.fill(values_BT, keep_BT)
    old_values_BT = masked.fill(old_values_BT, keep_BT)
    returns_BT = masked.fill(returns_BT, keep_BT)
    near_BT = old_values_BT + (values_BT - old_values_BT).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values_BT - returns_BT).square(), (near_BT - returns_BT).square())


def truncated_importance(logprobs_BT: Tensor, engine_logprobs_BT: Tensor, keep_BT: Tensor, *, cap: float) -> Tensor:
    """min(pi_old / mu, cap) per token, detached, 0 where not kept: corrects for sampling from mu instead of pi_old.

    Truncated importance sampling, Ionides 2008 Eq. 3; per token as in verl's rollout correction.

    Args:
        logprobs_BT: log pi_old by the trainer.
        engine_logprobs_BT: log mu by the engine that sampled, after temperature and the like.
        cap: bounds the variance at the price of bias; 2 is usual.
    """
    log_weight_BT = masked.fill(logprobs_BT - engine_logprobs_BT, keep_BT)
    return masked.fill(log_weight_BT.exp().clamp(max=cap), keep_BT).detach()
