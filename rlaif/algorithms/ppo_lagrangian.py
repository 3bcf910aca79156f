"""PPO under a constraint on expected cost: maximise E[score] - beta KL subject to E[cost] <= limit (Safe RLHF, arXiv
2310.12773 §3.3), by gradient steps on the policy and on the multiplier lambda of the constraint.

With `constrain: harm` the limit is on E[sigmoid(cost)], the probability of harm, and the cost's value model estimates
that, through the same sigmoid. A cost model's outputs are log-odds: their mean lets one reply that is very harmless pay
for one that does harm, and the outputs' scale differs from one trained model to the next, so that a limit does not
carry over.

Two value models, of the reward and of the cost; one policy loss, PPO's, on the advantage

    (A_reward - lambda A_cost) / (1 + lambda).

The KL penalty is in both: subtracted from the reward's tokens, added to the cost's. What is maximised is therefore
(score - lambda cost) / (1 + lambda) - beta KL, whose pull to the reference is the same for every lambda.

Deviations from the published code (PKU-Alignment/safe-rlhf):
- both sides carry the whole beta, not one half each: `kl_coefficient` is the weight of the KL, as in PPO;
- token rewards and costs are not clipped at +-50;
- advantages are whitened after they are mixed: before, the scales of reward and cost would be lost, and with them what
  lambda means;
- the cost that moves lambda is an exponential average over about `cost_window` episodes, not the mean of a window, so
  that the state is a few numbers; lambda moves after the policy's steps on a batch, so that the log shows the lambda
  which the batch was learnt with;
- lambda is exp(log base + gain * (average - limit)): only the base adds up over time, as the paper's lambda does. The
  other term answers a violation at once and is gone with it, which damps the circles that the two players otherwise
  run around the optimum (a proportional term, Stooke et al., arXiv 2007.03964). Gain 0 is the paper's update.
The cost has no rule for completions that did not end: that is the score's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlaif.algorithms import ppo
from rlaif.batches import ConstrainedBatch, Costed, require_finite
from rlaif.formulas import advantages, kl, lagrange, losses, masked, shaping
from rlaif.ports.algorithm import Sampler
from rlaif.ports.learner import Need

SAMPLER: Sampler = "policy"
NEEDS: tuple[Need, ...] = ("values", "cost_values")
EXPONENT = 700.0  # exp of more is no float; no cap is so high


class Config(ppo.Config):
    """Settings of PPO, and of the constraint."""

    constrain: Literal["cost", "harm"] = Field(
        default="cost",
        description="what the limit is on: the mean cost, or the mean probability of harm, sigmoid(cost)",
    )
    limit: float = Field(default=0.0, description="highest mean allowed; a cost model's 0 parts harm from no harm")
    multiplier: float = Field(default=1.0, gt=0, description="lambda at the start")
    multiplier_rate: float = Field(
        default=0.1, ge=0, description="step of log lambda per unit of lambda times cost above the limit"
    )
    multiplier_gain: float = Field(
        default=1.0, ge=0, description="log lambda at once, per unit of cost above the limit: damps its swings"
    )
    multiplier_cap: float = Field(default=20.0, gt=0, description="highest lambda")
    cost_window: float = Field(default=128, gt=0, description="episodes over which the cost is averaged for lambda")

    @model_validator(mode="after")
    def _starts_below_cap(self) -> Self:
        if self.multiplier > self.multiplier_cap:
            raise ValueError(f"multiplier {self.multiplier} starts above multiplier_cap {self.multiplier_cap}")
        if self.constrain == "harm" and not 0 < self.limit < 1:
            problem = f"limit {self.limit:g} is no probability between 0 and 1, as `constrain: harm` needs"
            raise ValueError(problem, "say for instance limit: 0.05: one reply in twenty may do harm")
        return self


class Observed(NamedTuple):
    """What a batch says before anything is learnt from it; see `ppo.Observed` for the rest.

    cost: mean over the batch. costly: share of responses whose cost is above 0. harm: mean of sigmoid(cost).
    """

    kl: float
    explained_variance: float | None
    cost_explained_variance: float | None
    importance: float
    cost: float
    costly: float
    harm: float


class Loss(NamedTuple):
    """A micro-batch's share of the loss of its minibatch. `total` alone is differentiated.

    stats: those of PPO, and cost_value_loss and cost_value_error.
    """

    total: Tensor
    stats: dict[str, Tensor]


def start(config: Config) -> dict[str, float]:
    """The KL coefficient; lambda, and its base; the average of what is constrained, with its weight, towards 1 as
    episodes come in."""
    multiplier = config.multiplier
    remembered = {"multiplier": multiplier, "multiplier_base": multiplier, "cost_average": 0.0, "cost_weight": 0.0}
    return {**ppo.start(config), **remembered}


def prepare(scored: Costed, config: Config, state: Mapping[str, float]) -> ConstrainedBatch:
    """Advantages of reward and cost in one, both returns and importance weights; once per batch."""
    keep_BT, coefficient, multiplier = scored.keep_BT, state["kl_coefficient"], state["multiplier"]
    cost_values_BT = torch.where(keep_BT, _constrained(scored.cost_values_BT, config), 0.0)
    scored = replace(scored, cost_values_BT=cost_values_BT)
    constrained_B = _constrained(scored.costs_B, config)
    rewards_BT = ppo.token_rewards(scored, config, coefficient)
    costs_BT = shaping.token_rewards(scored.logprobs_BT, scored.ref_logprobs_BT, constrained_B, keep_BT, -coefficient)
    reward = advantages.gae(rewards_BT, scored.values_BT, keep_BT, config.gamma, config.lam)
    cost = advantages.gae(costs_BT, scored.cost_values_BT, keep_BT, config.gamma, config.lam)
    mixed_BT = (reward.advantages_BT - multiplier * cost.advantages_BT) / (1 + multiplier)
    if config.whiten_advantages:
        mixed_BT = masked.whiten(mixed_BT, keep_BT)
    importance_BT = losses.truncated_importance(
        scored.logprobs_BT, scored.engine_logprobs_BT, keep_BT, cap=config.importance_cap
    )
    return scored.constrained_batch(
        advantages_BT=mixed_BT,
        returns_BT=reward.returns_BT,
        cost_returns_BT=cost.returns_BT,
        importance_BT=importance_BT,
    )


def observe(batch: ConstrainedBatch) -> Observed:
    """Figures of a whole prepared batch, for the log and for `after_step`."""
    keep_BT = batch.keep_BT
    return Observed(
        kl=float(kl.mean_per_sequence(kl.k1(batch.logprobs_BT, batch.ref_logprobs_BT), keep_BT)),
        explained_variance=advantages.explained_variance(batch.values_BT, batch.returns_BT, keep_BT),
        cost_explained_variance=advantages.explained_variance(batch.cost_values_BT, batch.cost_returns_BT, keep_BT),
        importance=float(masked.mean(batch.importance_BT, keep_BT)),
        cost=float(batch.costs_B.mean()),
        costly=float((batch.costs_B > 0).float().mean()),
        harm=float(batch.costs_B.sigmoid().mean()),
    )


def loss(
    batch_rows: ConstrainedBatch,
    logprobs_BT: Tensor,
    values_BT: Tensor,
    cost_values_BT: Tensor,
    config: Config,
    *,
    tokens: float,
) -> Loss:
    """The share of some rows in the loss of their minibatch: PPO's, plus value_coefficient * the cost's value loss.

    Args:
        cost_values_BT: the cost's value model's estimates, with gradient. The others are those of `ppo.loss`.

    Raises:
        RunHalted: a log-probability, value or ratio is not finite.
        ValueError: tokens is not positive.
    """
    keep_BT = batch_rows.keep_BT
    plain = ppo.loss(batch_rows, logprobs_BT, values_BT, config, tokens=tokens)
    require_finite("the estimate of the cost's value model", cost_values_BT, keep_BT)
    cost_values_BT = _constrained(cost_values_BT, config)
    cost_loss_BT = losses.clipped_value(
        cost_values_BT,
        batch_rows.cost_values_BT,
        batch_rows.cost_returns_BT,
        keep_BT,
        clip_range=config.value_clip_range,
    )
    cost_loss = cost_loss_BT.sum() / tokens
    total = plain.total + config.value_coefficient * cost_loss
    error_BT = (cost_values_BT.detach() - batch_rows.cost_returns_BT).square()
    stats = {
        **plain.stats,
        "loss": total.detach(),
        "cost_value_loss": cost_loss.detach(),
        "cost_value_error": masked.sum(error_BT, keep_BT) / tokens,
    }
    return Loss(total, stats)


def after_step(state: Mapping[str, float], observed: Observed, episodes: int, config: Config) -> dict[str, float]:
    """The KL coefficient as PPO moves it, the average of what is constrained with this batch in it, and lambda by that
    average."""
    kept = math.exp(-episodes / config.cost_window)
    weight = kept * state["cost_weight"] + (1 - kept)
    now = observed.harm if config.constrain == "harm" else observed.cost
    average = state["cost_average"] + (now - state["cost_average"]) * (1 - kept) / weight
    base, cap = state["multiplier_base"], config.multiplier_cap
    excess = average - config.limit
    base = lagrange.update(base, average, config.limit, config.multiplier_rate, cap=cap)
    return {
        "kl_coefficient": ppo.next_coefficient(state["kl_coefficient"], observed.kl, episodes, config),
        "multiplier": min(cap, math.exp(min(EXPONENT, math.log(base) + config.multiplier_gain * excess))),
        "multiplier_base": base,
        "cost_average": average,
        "cost_weight": weight,
    }


def _constrained(costs: Tensor, config: Config) -> Tensor:
    """Of costs or estimates of them, what the limit is on."""
    return costs.sigmoid() if config.constrain == "harm" else costs
