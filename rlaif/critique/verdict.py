"""From what an engine returned to a judgement: a number only where there is one."""

from __future__ import annotations

import math

from rlaif.critique.compare import Question
from rlaif.records.judgement import Judgement

MAX_OUTSIDE = 0.5  # a critic that puts more than half its mass on neither option did not answer the question


def judge(question: Question, key: str, logprobs: tuple[float, ...] | None, reason: str | None) -> Judgement:
    """A judgement from option log-probabilities (nats, A then B), or a failed one from the engine's reason.

    Refused, as failed: anything not finite, positive, or adding up to more than 1; mass outside the options above
    `MAX_OUTSIDE`.
    """
    if logprobs is None:
        return _failed(question, key, reason or "the engine gave no reason")
    if len(logprobs) != 2 or not all(math.isfinite(x) for x in logprobs):
        return _failed(question, key, f"log-probabilities are not two finite numbers: {list(logprobs)!r}")
    mass = math.exp(min(logprobs[0], 1.0)) + math.exp(min(logprobs[1], 1.0))
    if mass > 1.001:
        return _failed(question, key, f"the options' probabilities add up to {mass:.3g}")
    outside = max(0.0, 1.0 - mass)
    if outside > MAX_OUTSIDE:
        return _failed(question, key, f"{outside:.0%} of the probability is on neither option")
    return Judgement(
        key=key,
        pair_id=question.pair_id,
        principle_id=question.principle_id,
        wording=question.wording,
        order=question.order,
        status="ok",
        logprob_a=logprobs[0],
        logprob_b=logprobs[1],
        outside=outside,
    )


def _failed(question: Question, key: str, reason: str) -> Judgement:
    return Judgement(
        key=key,
        pair_id=question.pair_id,
        principle_id=question.principle_id,
        wording=question.wording,
        order=question.order,
        status="failed",
        reason=reason,
    )


def p_option_a(judgement: Judgement) -> float:
    """P(option A), normalised over the two options: e^a / (e^a + e^b) (arXiv 2212.08073 §4.1)."""
    if judgement.logprob_a is None or judgement.logprob_b is None:
        raise ValueError("a failed judgement has no probability")
    return 1.0 / (1.0 + math.exp(min(700.0, judgement.logprob_b - judgement.logprob_a)))


def p_first(judgement: Judgement) -> float:
    """P(the pair's first response is better): option A in order "ab", option B in order "ba"."""
    p = p_option_a(judgement)
    return p if judgement.order == "ab" else 1.0 - p
