"""A number only where there is one."""

from __future__ import annotations

import math

import pytest

from rlaif.critique.compare import Question
from rlaif.critique.verdict import judge, p_option_a

QUESTION = Question("p", "kind", 0, "ab", [])


def test_an_answer() -> None:
    judged = judge(QUESTION, "key", (math.log(0.6), math.log(0.3)), None)
    assert judged.status == "ok"
    assert judged.outside == pytest.approx(0.1)
    assert p_option_a(judged) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("logprobs", "reason"),
    [
        ((math.nan, -1.0), "not two finite"),
        ((-math.inf, -1.0), "not two finite"),
        ((math.inf, -1.0), "not two finite"),
        ((-1.0,), "not two finite"),
        ((3.0, -1.0), "add up to"),
        ((-0.1, -0.1), "add up to"),
        ((-9999.0, -9999.0), "neither option"),
        ((math.log(0.2), math.log(0.2)), "60% of the probability is on neither option"),
    ],
)
def test_what_is_no_answer_fails_with_its_reason(logprobs: tuple[float, ...], reason: str) -> None:
    judged = judge(QUESTION, "key", logprobs, None)
    assert judged.status == "failed"
    assert judged.logprob_a is None and judged.logprob_b is None and judged.outside is None
    assert judged.reason is not None and reason in judged.reason


def test_an_engine_failure_keeps_its_reason() -> None:
    assert judge(QUESTION, "key", None, "the prompt has 9 tokens").reason == "the prompt has 9 tokens"


def test_a_failed_judgement_has_no_probability() -> None:
    with pytest.raises(ValueError, match="failed"):
        p_option_a(judge(QUESTION, "key", None, "nothing"))
