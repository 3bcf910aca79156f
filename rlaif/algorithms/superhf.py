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

from typing import NamedTuple

from pydantic import Field
from torch import Tensor

from rlaif.algorithms import best_of_n
from rlaif.batches import Scored, require_finite
from rlaif.formulas import masked
from rlaif.ports.algorithm import Sampler
from rlaif.ports.learner import Need

SAMPLER: Sampler = "policy"
NEEDS: tuple[Need, ...] = ("reference_kl",)


class Config(best_of_n.Config):
    """Settings of SuperHF: those of the choice of samples, and the weight of the KL."""

    kl_coefficient: float = Field(default=0.35, ge=0, description="weight of KL(ref || pi) a token in the loss")


class Loss(NamedTuple):
    """A micro-batch's share of the loss of its minibatch.

    stats: loss; cross_entropy; reference_kl, KL(ref || pi). All in nats a token.
    """

    total: Tensor
    stats: dict[str, Tensor]


# Which samples are kept, and what is said of them, is as in best-of-n; who writes the samples is not.
start, prepare, observe, after_step = best_of_n.start, best_of_n.prepare, best_of_n.observe, best_of_n.after_step


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
