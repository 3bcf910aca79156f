"""An algorithm of one's own: REINFORCE whose baseline is a running mean of the rewards (Williams, 1992, §4).

What an algorithm is stands in `rlaif/ports/algorithm.py`; `rlaif/algorithms/rloo.py` is one for real use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rlaif.batches import AdvantageBatch, Scored
from rlaif.formulas import kl, losses, masked

SAMPLER, NEEDS = "policy", ()  # the policy that is trained draws the samples; there is no value model


class Config(BaseModel):  # what stands below `policy.settings` in a run file
    model_config = ConfigDict(extra="forbid", frozen=True)
    kl_coefficient: float = Field(default=0.05, ge=0)
    decay: float = Field(default=0.9, ge=0, lt=1)
    epochs: int = 1
    minibatches: int = 1


class Observed(NamedTuple):
    advantage: float  # logged, as all fields are


class Loss(NamedTuple):
    total: Tensor
    stats: dict[str, Tensor]


def start(config: Config) -> dict[str, float]:
    return {"baseline": 0.0}


def prepare(scored: Scored, config: Config, state: Mapping[str, float]) -> AdvantageBatch:
    keep_BT = scored.keep_BT
    penalties_B = config.kl_coefficient * masked.sum(kl.k1(scored.logprobs_BT, scored.ref_logprobs_BT), keep_BT, dim=1)
    weights_BT = losses.truncated_importance(scored.logprobs_BT, scored.engine_logprobs_BT, keep_BT, cap=2.0)
    advantages_B = scored.scores_B - penalties_B - state["baseline"]
    advantages_BT = masked.fill(advantages_B.unsqueeze(1).expand(keep_BT.shape), keep_BT)
    return scored.advantage_batch(advantages_BT=advantages_BT, importance_BT=weights_BT)


def observe(batch: AdvantageBatch) -> Observed:
    return Observed(float(batch.advantages_BT[:, 0].mean()))


def loss(rows: AdvantageBatch, logprobs_BT: Tensor, config: Config, *, tokens: float) -> Loss:
    total = -masked.sum(rows.importance_BT * rows.advantages_BT * logprobs_BT, rows.keep_BT) / tokens
    return Loss(total, {"loss": total.detach()})


def after_step(state: Mapping[str, float], observed: Observed, episodes: int, config: Config) -> dict[str, float]:
    return {"baseline": state["baseline"] + (1 - config.decay) * observed.advantage}
