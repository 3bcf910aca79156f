"""SuperHF: keep the best of several samples a prompt, and imitate it without moving far from the reference.

Loss = cross-entropy of the kept completions' tokens + kl_coefficient * KL(ref || pi), the latter over the whole
vocabulary (arXiv 2310.16763 §3). It is repeated on the policy's own samples, update after update.

Deviations from the published code (openfeedback/superhf, `src/superhf/training.py`):
- the KL is that of the distributions which predict the completion's tokens; the code takes it one position late;
- padding is in no loss; the code's cross-entropy holds pad tokens;
- both losses are means over all kept tokens of the minibatch; the code averages the one over rows and adds up the
  other, so that its coefficient grows with the batch;
- the KL is not clamped at 0, because over the whole vocabulary it cannot be below but by rounding;
- an unfinished completion has `missing_eos_penalty` subtracted from its score, so that one is rarely the best; there is
  no other length penalty;
- sampling is not cut off by top-p: samples are those of the distribution whose log-probabilities are compared.
Logits are divided by the temperature of sampling in both losses, as in every pass here.
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

SAMPLER: Sampler = "policy"
NEEDS: tuple[Need, ...] = ("reference_kl",)


class Config(BaseModel):
    """Settings of SuperHF."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    group_size: int = Field(default=16, ge=2, description="samples a prompt, of which the best is learnt from")
    kl_coefficient: float = Field(default=0.35, ge=0, description="weight of KL(ref || pi) a token in the loss")
    missing_eos_penalty: float = Field(
        default=1.0, ge=0, description="subtracted from the score of an unfinished completion"
    )
    epochs: int = Field(default=1, ge=1, description="passes over the kept samples")
    minibatches: int = Field(default=1, ge=1, description="optimiser steps per pass")


class Observed(NamedTuple):
    """What a batch says before anything is learnt from it.

    best_score: mean score of the kept samples, which is what the policy is drawn to.
    best_finished: share of them that ended by themselves.
    """

    best_score: float
    best_finished: float


class Loss(NamedTuple):
    """A micro-batch's share of the loss of its minibatch.

    stats: loss; cross_entropy; reference_kl, KL(ref || pi). All in nats a token.
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


def loss(batch_rows: Scored, logprobs_BT: Tensor, reference_kl_BT: Tensor, config: Config, *, tokens: float) -> Loss:
    """The share of some rows in the loss of their minibatch: cross-entropy + kl_coefficient * KL(ref || pi).

    Args:
        logprobs_BT: log pi of the rows' tokens by the policy being trained, with gradient.
        reference_kl_BT: KL(ref || pi) over the vocabulary where each of them was predicted, with gradient.
        tokens: kept tokens of the *whole* minibatch.

    Raises:
        RunHalted: a log-probability or KL is not finite.
        ValueError: tokens is not positive.
    """
    if not tokens > 0:
        raise ValueError(f"tokens must be positive, got {tokens}")
    keep_BT = batch_rows.keep_BT
    require_finite("the policy's log-probability", logprobs_BT, keep_BT)
    require_finite("the KL from the reference", reference_kl_BT, keep_BT)
    cross_entropy = -masked.sum(logprobs_BT, keep_BT) / tokens
    reference_kl = masked.sum(reference_kl_BT, keep_BT) / tokens
    total = cross_entropy + config.kl_coefficient * reference_kl
    stats = {
        "loss": total.detach(),
        "cross_entropy": cross_entropy.detach(),
        "reference_kl": reference_kl.detach(),
    }
    return Loss(total, stats)


def after_step(state: Mapping[str, float], observed: Observed, episodes: int, config: Config) -> dict[str, float]:
    """Nothing changes."""
    return dict(state)
