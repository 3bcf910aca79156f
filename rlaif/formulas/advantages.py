"""How much better than expected each token or each sample was."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlaif.formulas import masked


class Advantages(NamedTuple):
    """Advantages and the returns that the value function is regressed on, both (B, T) and 0 where not kept."""

    advantages_BT: Tensor
    returns_BT: Tensor


def gae(rewards_BT: Tensor, values_BT: Tensor, keep_BT: Tensor, gamma: float, lam: float) -> Advantages:
    """Generalised advantage estimation: A_t = sum_l (gamma lam)^l delta_{t+l}, returns = A + V.

    delta_t = r_t + gamma V_{t+1} - V_t, where t + 1 means the row's next *kept* token, and V after the last one is 0.
    Schulman et al. (arXiv 1506.02438) Eq. 16, truncated as in PPO (arXiv 1707.06347) Eq. 11-12.

    Args:
        rewards_BT: reward for the token at each position.
        values_BT: value of the state in which that token was chosen.
        gamma: discount per token. lam: the bias-variance trade-off, 1 for Monte Carlo, 0 for one step.
    """
    advantage_B = torch.zeros_like(rewards_BT[:, 0])
    next_value_B = torch.zeros_like(advantage_B)
    columns: list[Tensor] = []
    for t in reversed(range(rewards_BT.shape[1])):
        keep_B, value_B = keep_BT[:, t], values_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - value_B
        advantage_B = torch.where(keep_B, delta_B + gamma * lam * advantage_B, advantage_B)
        next_value_B = torch.where(keep_B, value_B, next_value_B)
        columns.append(advantage_B)
    advantages_BT = masked.fill(torch.stack(columns[::-1], dim=1), keep_BT)
    return Advantages(advantages_BT, masked.fill(advantages_BT + values_BT, keep_BT))


def leave_one_out(rewards_BG: Tensor) -> Tensor:
    """Each sample's reward minus the mean reward of the *other* samples of its prompt, shape (B, G).

    RLOO: Ahmadian et al. (arXiv 2402.14740) §2; Kool et al. 2019.

    Raises:
        ValueError: fewer than two samples a prompt.
    """
    group = rewards_BG.shape[1]
    if group < 2:
        raise ValueError(f"leave-one-out needs at least 2 samples a prompt, got {group}")
    others_BG = (rewards_BG.sum(dim=1, keepdim=True) - rewards_BG) / (group - 1)
    return rewards_BG - others_BG


def explained_variance(values_BT: Tensor, returns_BT: Tensor, keep_BT: Tensor) -> float | None:
    """1 - Var(returns - values) / Var(returns) over kept tokens: 1 is a perfect value function, 0 a constant one.

    OpenAI Baselines, `explained_variance`. None where all returns are equal, because there is nothing to explain.

    Raises:
        ValueError: nothing is kept.
    """

    def variance(x_BT: Tensor) -> float:
        return float(masked.mean((x_BT - masked.mean(x_BT, keep_BT)).square(), keep_BT))

    total = variance(returns_BT)
    return None if total == 0 else 1 - variance(returns_BT - values_BT) / total
