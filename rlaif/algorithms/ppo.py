"""Proximal policy optimisation for language models, with the KL penalty inside the reward.

The settings are those of the literature; where sources differ:
- the score falls on the last kept token, not one slot after it (N+, TRL);
- a completion without end of sequence has `missing_eos_penalty` subtracted (TRL); `missing_eos: replace` puts its
  negative in the place of the score (N+);
- advantages are whitened once per batch with the biased variance (N+), not per minibatch inside the loss (Ziegler);
- token means are over the whole minibatch (Ziegler), not means of means over micro-batches;
- no entropy bonus: the KL penalty already holds the policy near a reference with entropy;
- scores are of text: a reply is decoded, spelled again and ended before the reward model reads it, also where the
  policy did not end it;
- importance weights are per token: none of whole sequences, none dropped (IcePop);
- an update is not stopped early by its KL (omnisafe);
- nothing is clamped (OpenRLHF: log-ratios, KL and scores): a number out of bounds is a fault, and is not made to look
  like a large one.

Ziegler: arXiv 1909.08593. N+: arXiv 2403.17031. PPO: arXiv 1707.06347.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from rlaif.batches import Scored, TrainBatch, Valued, require_finite
from rlaif.formulas import advantages, kl, losses, masked, shaping
from rlaif.ports.algorithm import Sampler
from rlaif.ports.learner import VALUES

SAMPLER: Sampler = "policy"
NEEDS = VALUES


class Config(BaseModel):
    """Settings of PPO, for one machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clip_range: float = Field(default=0.2, gt=0, lt=1, description="how far the ratio pi/pi_old may gain from 1")
    dual_clip: float | None = Field(
        default=3.0, gt=1, description="bound on the loss of bad tokens, in multiples of |A|"
    )
    value_clip_range: float = Field(
        default=0.2, gt=0, description="how far a value may move per batch, in units of reward"
    )
    value_coefficient: float = Field(default=0.1, ge=0, description="weight of the value loss")
    gamma: float = Field(default=1.0, ge=0, le=1, description="discount per token")
    lam: float = Field(default=0.95, ge=0, le=1, description="GAE's lambda")
    whiten_advantages: bool = Field(
        default=True, description="scale advantages to mean 0 and variance 1 over the batch"
    )
    kl_coefficient: float = Field(
        default=0.05, ge=0, description="reward per nat of k1; the start value if a target is set"
    )
    kl_target: float | None = Field(
        default=None, gt=0, description="nats per sequence; null keeps the coefficient fixed"
    )
    kl_horizon: float = Field(default=10_000, gt=0, description="episodes over which the coefficient adapts")
    missing_eos_penalty: float = Field(
        default=1.0, ge=0, description="subtracted from the score of an unfinished completion"
    )
    missing_eos: Literal["subtract", "replace"] = Field(
        default="subtract", description="the penalty is subtracted from that score, or its negative replaces it"
    )
    whiten_rewards: bool = Field(
        default=False, description="scale rewards per token to variance 1 over the batch, their mean kept"
    )
    importance_cap: float = Field(
        default=2.0, gt=0, description="cap of the weights pi_old/mu for the engine's samples"
    )
    epochs: int = Field(default=2, ge=1, description="passes over each batch")
    minibatches: int = Field(default=1, ge=1, description="optimiser steps per pass")

    @model_validator(mode="after")
    def _adaptive_starts_above_zero(self) -> Self:
        if self.kl_target is not None and self.kl_coefficient == 0:
            raise ValueError(
                "kl_coefficient 0 cannot adapt to kl_target, since it is changed by factors: start above 0"
            )
        return self


class Observed(NamedTuple):
    """What a batch says before anything is learnt from it.

    kl: k1 in nats, summed over each sequence, averaged over the batch; what `after_step` reads.
    explained_variance: of the returns by the old values; None where all returns are equal.
    importance: mean weight pi_old/mu; 1 where engine and trainer agree.
    """

    kl: float
    explained_variance: float | None
    importance: float


class Loss(NamedTuple):
    """A micro-batch's share of the loss of its minibatch. `total` alone is differentiated.

    stats: loss, policy_loss, value_loss; clip_fraction; approx_kl_k2 and approx_kl_k3, two estimates per token of
    KL(pi_old || pi); ratio_mean and ratio_max; value_error, the mean squared error without clipping.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    stats: dict[str, Tensor]


def start(config: Config) -> dict[str, float]:
    """What the algorithm remembers between updates: the KL coefficient, which `after_step` may move."""
    return {"kl_coefficient": config.kl_coefficient}


def prepare(scored: Valued, config: Config, state: Mapping[str, float]) -> TrainBatch:
    """Rewards per token, advantages, returns and importance weights; once per batch, before the first step on it."""
    keep_BT = scored.keep_BT
    rewards_BT = token_rewards(scored, config, state["kl_coefficient"])
    advantages_BT, returns_BT = advantages.gae(rewards_BT, scored.values_BT, keep_BT, config.gamma, config.lam)
    if config.whiten_advantages:  # after the returns, which must keep their scale
        advantages_BT = masked.whiten(advantages_BT, keep_BT)
    importance_BT = losses.truncated_importance(
        scored.logprobs_BT, scored.engine_logprobs_BT, keep_BT, cap=config.importance_cap
    )
    return scored.train_batch(advantages_BT=advantages_BT, returns_BT=returns_BT, importance_BT=importance_BT)


def token_rewards(scored: Scored, config: Config, coefficient: float) -> Tensor:
    """-coefficient * k1 a token, and at the last one the score, under the rule for completions that did not end."""
    finished_B, penalty = scored.finished_B, config.missing_eos_penalty
    if config.missing_eos == "replace":
        scores_B = shaping.replace_unfinished(scored.scores_B, finished_B, -penalty)
    else:
        scores_B = shaping.penalise_unfinished(scored.scores_B, finished_B, penalty)
    keep_BT = scored.keep_BT
    rewards_BT = shaping.token_rewards(scored.logprobs_BT, scored.ref_logprobs_BT, scores_B, keep_BT, coefficient)
    return masked.whiten(rewards_BT, keep_BT, shift_mean=False) if config.whiten_rewards else rewards_BT


def observe(batch: TrainBatch) -> Observed:
    """Figures of a whole prepared batch, for the log and for `after_step`."""
    keep_BT = batch.keep_BT
    return Observed(
        kl=float(kl.mean_per_sequence(kl.k1(batch.logprobs_BT, batch.ref_logprobs_BT), keep_BT)),
        explained_variance=advantages.explained_variance(batch.values_BT, batch.returns_BT, keep_BT),
        importance=float(masked.mean(batch.importance_BT, keep_BT)),
    )


def loss(batch_rows: TrainBatch, logprobs_BT: Tensor, values_BT: Tensor, config: Config, *, tokens: float) -> Loss:
    """The share of some rows in the PPO loss of their minibatch: policy + value_coefficient * value.

    Args:
        logprobs_BT: log pi of the rows' tokens by the policy being trained, with gradient.
        values_BT: the value model's estimates for the same rows, with gradient.
        tokens: kept tokens of the *whole* minibatch. Under data-parallel gradient averaging, all ranks' tokens divided
            by the number of ranks.

    Raises:
        RunHalted: a log-probability, value or ratio is not finite.
        ValueError: tokens is not positive.
    """
    if not tokens > 0:
        raise ValueError(f"tokens must be positive, got {tokens}")
    keep_BT, old_logprobs_BT = batch_rows.keep_BT, batch_rows.logprobs_BT
    require_finite("the policy's log-probability", logprobs_BT, keep_BT)
    require_finite("the value estimate", values_BT, keep_BT)
    surrogate = losses.clipped_policy(
        logprobs_BT,
        old_logprobs_BT,
        batch_rows.advantages_BT,
        keep_BT,
        clip_range=config.clip_range,
        dual_clip=config.dual_clip,
        importance_BT=batch_rows.importance_BT,
    )
    require_finite("the ratio of new to old policy", surrogate.ratio_BT)
    value_loss_BT = losses.clipped_value(
        values_BT, batch_rows.values_BT, batch_rows.returns_BT, keep_BT, clip_range=config.value_clip_range
    )
    policy, value = surrogate.loss_BT.sum() / tokens, value_loss_BT.sum() / tokens
    total = policy + config.value_coefficient * value

    def share(values_BT: Tensor) -> Tensor:
        return masked.sum(values_BT.detach(), keep_BT) / tokens

    stats = {
        "loss": total.detach(),
        "policy_loss": policy.detach(),
        "value_loss": value.detach(),
        "clip_fraction": share(surrogate.clipped_BT.to(surrogate.ratio_BT.dtype)),
        "approx_kl_k2": share(kl.k2(old_logprobs_BT, logprobs_BT)),
        "approx_kl_k3": share(kl.k3(old_logprobs_BT, logprobs_BT)),
        "ratio_mean": share(surrogate.ratio_BT),
        "ratio_max": surrogate.ratio_BT.detach().amax(),
        "value_error": share((values_BT - batch_rows.returns_BT).square()),
    }
    return Loss(total, policy.detach(), value.detach(), stats)


def after_step(state: Mapping[str, float], observed: Observed, episodes: int, config: Config) -> dict[str, float]:
    """What is remembered for the next batch: without a KL target the same, else the coefficient moved towards it.

    Args:
        observed: of the batch just learnt from.
        episodes: its rows.
    """
    return {"kl_coefficient": next_coefficient(state["kl_coefficient"], observed.kl, episodes, config)}


def next_coefficient(coefficient: float, observed_kl: float, episodes: int, config: Config) -> float:
    """The KL coefficient for the next batch."""
    if config.kl_target is None:
        return coefficient
    return kl.adaptive_coefficient(coefficient, observed_kl, config.kl_target, episodes, config.kl_horizon)
