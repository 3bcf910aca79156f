"""Distilled best-of-n: a policy that writes at once what best-of-n sampling picks out of n samples.

Samples always come from the policy that training started from, never from the one being trained. The best of each
prompt's n samples is imitated: loss = cross-entropy of its tokens. This is one round of the rejection-sampling
fine-tuning of Llama 2 (Touvron et al., arXiv 2307.09288 §3.2.3), and the supervised part of BoNBoN (Gui et al., arXiv
2406.00832). It converges to the best-of-n distribution of the start, as far as the model can express that, and stays
there. That distribution's KL from the start is at most log n - (n - 1) / n (arXiv 2401.01879): no KL term is needed.

Deviations from Llama 2:
- one round: they sample again from every round's result, and keep the best samples of earlier rounds;
- the samples are drawn afresh for every update, so that no prompt's best sample is learnt by heart;
- prompts are not weighted, and there is no share of the supervised data;
- an unfinished sample has `missing_eos_penalty` subtracted from its score, so that one is rarely the best.
Logits are divided by the temperature of sampling, as in every pass here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rlaif.batches import Scored, require_finite
from rlaif.formulas import masked, shaping
from rlaif.ports.algorithm import Sampler
from rlaif.ports.learner import Need

SAMPLER: Sampler = "reference"
NEEDS: tuple[Need, ...] = ()


class Config(BaseModel):
    """Settings of distilled best-of-n."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    group_size: int = Field(default=16, ge=2, description="n: samples a prompt, of which the best is learnt from")
    missing_eos_penalty: float = Field(
        default=1.0, ge=0, description="subtracted from the score of an unfinished completion"
    )
    epochs: int = Field(default=1, ge=1, description="passes over the kept samples")
    minibatches: int = Field(default=1, ge=1, description="optimiser steps per pass")


class Observed(NamedTuple):
    """What a batch says before anything is learnt from it.

    best_score: mean score of the kept samples, which is what the policy should come to score.
    best_finished: share of them that ended by themselves.
    """

    best_score: float
    best_finished: float


class Loss(NamedTuple):
    """A micro-batch's share of the loss of its minibatch.

    stats: loss, the cross-entropy in nats a token.
    """

    total: Tensor
    stats: dict[str, Tensor]


def start(config: Config) -> dict[str, float]:
    """Nothing is remembered between updates."""
    return {}


def prepare(scored: Scored, config: Config, state: Mapping[str, float]) -> Scored:
    """The best sample of every prompt, the first of equals.

    Args:
        scored: rows in groups of `group_size` neighbours, the samples of one prompt.
    """
    scores_B = shaping.penalise_unfinished(scored.scores_B, scored.finished_B, config.missing_eos_penalty)
    best_N = scores_B.reshape(-1, config.group_size).argmax(dim=1)
    return scored.select(best_N + config.group_size * torch.arange(len(best_N), device=best_N.device))


def observe(batch: Scored) -> Observed:
    """Figures of the kept samples, for the log."""
    return Observed(
        best_score=float(batch.scores_B.mean()),
        best_finished=float(batch.finished_B.float().mean()),
    )


def loss(batch_rows: Scored, logprobs_BT: Tensor, config: Config, *, tokens: float) -> Loss:
    """The share of some rows in the cross-entropy of their minibatch.

    Args:
        logprobs_BT: log pi of the rows' tokens by the policy being trained, with gradient.
        tokens: kept tokens of the *whole* minibatch.

    Raises:
        RunHalted: a log-probability is not finite.
        ValueError: tokens is not positive.
    """
    if not tokens > 0:
        raise ValueError(f"tokens must be positive, got {tokens}")
    require_finite("the policy's log-probability", logprobs_BT, batch_rows.keep_BT)
    total = -masked.sum(logprobs_BT, batch_rows.keep_BT) / tokens
    return Loss(total, {"loss": total.detach()})


def after_step(state: Mapping[str, float], observed: Observed, episodes: int, config: Config) -> dict[str, float]:
    """Nothing changes."""
    return dict(state)
