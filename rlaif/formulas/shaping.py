"""From one score per response to one reward per token.

Deviations from published code: N+ (arXiv 2403.17031) and TRL add the score one slot *after* the end-of-sequence token
and give that slot a value of its own. Here the score falls on the last kept token, so every reward belongs to a token
that the policy chose.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.formulas import kl, masked


def last_kept(keep_BT: Tensor) -> Tensor:
    """True at the last kept token of every row, shape (B, T); a row with nothing kept has none."""
    kept_from_here_BT = keep_BT.flip(1).cumsum(dim=1).flip(1)
    return keep_BT & (kept_from_here_BT == 1)


def token_rewards(
    logprobs_BT: Tensor, ref_logprobs_BT: Tensor, scores_B: Tensor, keep_BT: Tensor, coefficient: float
) -> Tensor:
    """-coefficient * k1 at every kept token, plus the row's score at its last one; shape (B, T), 0 where not kept.

    Ziegler et al. (arXiv 1909.08593) Eq. 2, spread over tokens. Only `k1` makes the policy gradient that of the KL.

    Args:
        logprobs_BT: log pi_old of the sampled tokens, in nats.
        ref_logprobs_BT: log pi_ref of the same tokens.
        scores_B: score of each whole response.
        coefficient: beta, reward per nat.
    """
    penalty_BT = coefficient * masked.fill(kl.k1(logprobs_BT, ref_logprobs_BT), keep_BT)
    return torch.where(last_kept(keep_BT), scores_B.unsqueeze(1) - penalty_BT, -penalty_BT)


def replace_unfinished(scores_B: Tensor, finished_B: Tensor, score: float) -> Tensor:
    """`score` in place of the score of every response that did not end by itself (N+, arXiv 2403.17031: -1)."""
    return torch.where(finished_B, scores_B, score)


def penalise_unfinished(scores_B: Tensor, finished_B: Tensor, penalty: float) -> Tensor:
    """The score minus `penalty` for every response that did not end by itself (TRL, `missing_eos_penalty`)."""
    return torch.where(finished_B, scores_B, scores_B - penalty)
