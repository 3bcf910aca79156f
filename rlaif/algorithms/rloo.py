"""REINFORCE leave-one-out: each sample is compared with the others of its prompt, and no value model is needed.

A response is one action. Its reward is R = score - beta * sum_t k1_t, its advantage R minus the mean R of the prompt's
other samples (arXiv 2402.14740 §2, Kool et al. 2019), and the gradient is that of -A log pi(response).

Deviations:
- the loss is divided by the minibatch's kept tokens, as everywhere here, not by its samples: the same direction, and a
  step that does not grow with the length of replies;
- samples weigh by truncated importance pi_old/mu per token, for rollout engines that round otherwise than the trainer;
- the loss is PPO's clipped surrogate per token. With one step a batch, the default and the paper's, the ratio is 1, the
  clip does nothing and the gradient is REINFORCE's; with several, the clip bounds what a batch can be used for;
- a completion without end of sequence has `missing_eos_penalty` subtracted (TRL).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rlaif.batches import AdvantageBatch, Scored, require_finite
from rlaif.formulas import advantages, kl, losses, masked, shaping
from rlaif.ports.algorithm import Sampler
from rlaif.ports.learner import Need

SAMPLER: Sampler = "policy"
NEEDS: tuple[Need, ...] = ()


class Config(BaseModel):
    """Settings of RLOO."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    group_size: int = Field(default=4, ge=2, description="samples a prompt, each judged against the others")
    kl_coefficient: float = Field(default=0.05, ge=0, description="reward per nat of k1, summed over the reply")
    missing_eos_penalty: float = Field(
        default=1.0, ge=0, description="subtracted from the score of an unfinished completion"
    )
    importance_cap: float = Field(
        default=2.0, gt=0, description="cap of the weights pi_old/mu for the engine's samples"
    )
    clip_range: float = Field(default=0.2, gt=0, lt=1, description="how far the ratio pi/pi_old may gain from 1")
    epochs: int = Field(default=1, ge=1, description="passes over each batch")
    minibatches: int = Field(default=1, ge=1, description="optimiser steps per pass")


class Observed(NamedTuple):
    """What a batch says before anything is learnt from it.

    importance: mean weight pi_old/mu; 1 where engine and trainer agree.
    advantage_std: of the samples, in units of reward: how much there is to learn.
    flat: share of samples with advantage 0, which teach nothing: their prompt's samples are all rewarded alike.
    """

    importance: float
    advantage_std: float
    flat: float


class Loss(NamedTuple):
    """A micro-batch's share of the loss of its minibatch.

    stats: loss; clip_fraction; approx_kl_k3, an estimate per token of KL(pi_old || pi); ratio_mean and ratio_max.
    """

    total: Tensor
    stats: dict[str, Tensor]


def start(config: Config) -> dict[str, float]:
    """Nothing is remembered between updates."""
    return {}


def prepare(scored: Scored, config: Config, state: Mapping[str, float]) -> AdvantageBatch:
    """Leave-one-out advantages, the same at every token of a row, and importance weights.

    Args:
        scored: rows in groups of `group_size` neighbours, the samples of one prompt.
    """
    keep_BT = scored.keep_BT
    scores_B = shaping.penalise_unfinished(scored.scores_B, scored.finished_B, config.missing_eos_penalty)
    kl_B = masked.sum(kl.k1(scored.logprobs_BT, scored.ref_logprobs_BT), keep_BT, dim=1)
    rewards_BG = (scores_B - config.kl_coefficient * kl_B).reshape(-1, config.group_size)
    advantages_B = advantages.leave_one_out(rewards_BG).flatten()
    importance_BT = losses.truncated_importance(
        scored.logprobs_BT, scored.engine_logprobs_BT, keep_BT, cap=config.importance_cap
    )
    return scored.advantage_batch(
        advantages_BT=masked.fill(advantages_B.unsqueeze(1).expand(keep_BT.shape), keep_BT),
        importance_BT=importance_BT,
    )


def observe(batch: AdvantageBatch) -> Observed:
    """Figures of a whole prepared batch, for the log."""
    advantages_B = batch.advantages_BT[:, 0]  # every row has a first token
    return Observed(
        importance=float(masked.mean(batch.importance_BT, batch.keep_BT)),
        advantage_std=float(advantages_B.std(correction=0)),
        flat=float((advantages_B.abs() < 1e-6).float().mean()),
    )


def loss(batch_rows: AdvantageBatch, logprobs_BT: Tensor, config: Config, *, tokens: float) -> Loss:
    """The share of some rows in the loss of their minibatch, whose gradient at the first step is that of -A log pi.

    Args:
        logprobs_BT: log pi of the rows' tokens by the policy being trained, with gradient.
        tokens: kept tokens of the *whole* minibatch.

    Raises:
        RunHalted: a log-probability or ratio is not finite.
        ValueError: tokens is not positive.
    """
    if not tokens > 0:
        raise ValueError(f"tokens must be positive, got {tokens}")
    keep_BT, old_logprobs_BT = batch_rows.keep_BT, batch_rows.logprobs_BT
    require_finite("the policy's log-probability", logprobs_BT, keep_BT)
    surrogate = losses.clipped_policy(
        logprobs_BT,
        old_logprobs_BT,
        batch_rows.advantages_BT,
        keep_BT,
        clip_range=config.clip_range,
        importance_BT=batch_rows.importance_BT,
    )
    require_finite("the ratio of new to old policy", surrogate.ratio_BT)
    total = surrogate.loss_BT.sum() / tokens

    def share(values_BT: Tensor) -> Tensor:
        return masked.sum(values_BT.detach(), keep_BT) / tokens

    stats = {
        "loss": total.detach(),
        "clip_fraction": share(surrogate.clipped_BT.to(surrogate.ratio_BT.dtype)),
        "approx_kl_k3": share(kl.k3(old_logprobs_BT, logprobs_BT)),
        "ratio_mean": share(surrogate.ratio_BT),
        "ratio_max": surrogate.ratio_BT.detach().amax(),
    }
    return Loss(total, stats)


def after_step(state: Mapping[str, float], observed: Observed, episodes: int, config: Config) -> dict[str, float]:
    """Nothing changes."""
    return dict(state)
