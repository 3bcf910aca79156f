"""How a rule turns probabilities into labels: clamp, abstention, temperature, several critics."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rlaif.critique import aggregate
from rlaif.records.labelling import Rule
from tests.critique.judged import PAIR, certain, constitution, judgement

ONE = constitution(("a", "x", 1.0))


def p_of(p_one: float, rule: Rule) -> float:
    label = aggregate.label(PAIR, ONE, certain("a", p_one), rule)
    assert label.p is not None
    return label.p


def test_the_clamp_comes_after_averaging_the_orders() -> None:
    # The hand-worked case: .890903 and .598688 average to .744795, clamped .6; clamped first they would give .599344.
    judged = [judgement("a", "ab", -0.2, -2.3, mode="cot"), judgement("a", "ba", -1.0, -0.6, mode="cot")]
    label = aggregate.label(PAIR, ONE, judged)
    assert label.p == 0.6
    assert label.votes[0].p_ab == pytest.approx(0.890903, abs=1e-6)  # the raw orders stay
    assert label.votes[0].p_ba == pytest.approx(0.598688, abs=1e-6)
    assert aggregate.label(PAIR, ONE, judged, Rule(clamp=None)).p == pytest.approx(0.744795, abs=1e-6)
    assert aggregate.label(PAIR, ONE, judged, Rule(clamp=(0.2, 0.7))).p == 0.7


def test_only_answers_after_a_rationale_are_clamped_and_each_principle_on_its_own() -> None:
    assert p_of(0.9, Rule()) == pytest.approx(0.9)
    rules = constitution(("a", "x", 1.0), ("b", "x", 1.0))
    judged = [*certain("a", 0.01, mode="cot"), *certain("b", 0.55, mode="cot")]
    assert aggregate.label(PAIR, rules, judged).p == pytest.approx((0.4 + 0.55) / 2)


@pytest.mark.parametrize(("p", "abstained"), [(0.52, True), (0.46, True), (0.56, False), (0.44, False)])
def test_an_unsure_label_keeps_its_probability_and_loses_its_weight(p: float, abstained: bool) -> None:
    label = aggregate.label(PAIR, ONE, certain("a", p), Rule(abstain=(0.45, 0.55)))
    assert label.p == pytest.approx(p)
    assert (label.abstained, label.axes["x"].abstained) == (abstained, abstained)
    assert label.weight == (0.0 if abstained else 1.0)


def test_axes_abstain_on_their_own() -> None:
    rules = constitution(("a", "x", 1.0), ("b", "y", 1.0))
    label = aggregate.label(PAIR, rules, [*certain("a", 0.5), *certain("b", 0.9)], Rule(abstain=(0.45, 0.55)))
    assert (label.abstained, label.axes["x"].abstained, label.axes["y"].abstained) == (False, True, False)


def test_without_an_answer_nobody_abstains() -> None:
    label = aggregate.label(PAIR, ONE, [judgement("a", "ab")], Rule(abstain=(0.0, 1.0)))
    assert (label.p, label.abstained, label.weight) == (None, False, 0.0)


def test_temperature_by_hand() -> None:
    # logit .8 = ln 4; half of it is ln 2, whose probability is 2/3; twice is ln 16, 16/17.
    assert p_of(0.8, Rule(temperature=2.0)) == pytest.approx(2 / 3)
    assert p_of(0.8, Rule(temperature=0.5)) == pytest.approx(16 / 17)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-300, 100))
@settings(deadline=None)
def test_temperature_keeps_the_order_and_the_middle(p: float, q: float, temperature: float) -> None:
    rule = Rule(temperature=temperature)
    low, high = sorted((p, q))
    assert 0 <= p_of(low, rule) <= p_of(high, rule) <= 1
    assert (p_of(low, rule) >= 0.5) == (p_of(low, Rule()) >= 0.5) or p_of(low, rule) == 0.5
    assert p_of(0.5, rule) == 0.5


@given(st.floats(0, 1))
@settings(deadline=None)
def test_temperature_one_changes_no_bit(p: float) -> None:
    label = aggregate.label(PAIR, ONE, certain("a", p), Rule(temperature=1.0))
    assert label.p == label.votes[0].p


def test_certainty_survives_every_temperature() -> None:
    sure = [judgement("a", "ab", -1e-9, -900.0), judgement("a", "ba", -900.0, -1e-9)]
    for temperature in (1e-300, 1e-3, 100.0):
        assert aggregate.label(PAIR, ONE, sure, Rule(temperature=temperature)).p == 1.0


def test_critics_vote_by_weight() -> None:
    judged = [*certain("a", 0.9, critic="fake:one"), *certain("a", 0.3, critic="fake:two")]
    even = aggregate.label(PAIR, ONE, judged)
    assert even.p == pytest.approx(0.6)
    tilted = aggregate.label(PAIR, ONE, judged, Rule(critic_weights={"fake:two": 3.0, "fake:nobody": 9.0}))
    assert tilted.p == pytest.approx((0.9 + 3 * 0.3) / 4)
    assert tilted.axes["x"].p == pytest.approx(tilted.p)
    assert tilted.critic == "fake:one + fake:two"
    assert [(o.name, o.weight) for o in tilted.opinions] == [("fake:one", 1.0), ("fake:two", 3.0)]
    assert [o.p for o in tilted.opinions] == pytest.approx([0.9, 0.3])


def test_a_critic_without_an_answer_lowers_the_weight_and_moves_nothing() -> None:
    judged = [*certain("a", 0.9, critic="fake:one"), judgement("a", "ab", critic="fake:two")]
    label = aggregate.label(PAIR, ONE, judged, Rule(critic_weights={"fake:two": 3.0}))
    assert label.p == pytest.approx(0.9)
    assert label.weight == pytest.approx(0.25)


def test_the_deciding_critic_stands_alone_where_it_has_an_answer() -> None:
    unsure, strong = certain("a", 0.55, critic="fake:cheap"), certain("a", 0.1, critic="fake:strong")
    decided = aggregate.label(PAIR, ONE, [*unsure, *strong], deciding="fake:strong")
    assert decided.p == pytest.approx(0.1)
    assert (decided.critic, decided.opinions, len(decided.votes)) == ("fake:strong", [], 1)
    assert aggregate.label(PAIR, ONE, unsure, deciding="fake:strong").p == pytest.approx(0.55)
    failed = [judgement("a", "ab", critic="fake:strong")]
    kept = aggregate.label(PAIR, ONE, [*unsure, *failed], deciding="fake:strong")
    assert kept.p == pytest.approx(0.55)


def test_a_principle_that_was_not_to_be_asked_lowers_no_weight() -> None:
    rules = constitution(("a", "x", 1.0), ("b", "y", 3.0))
    label = aggregate.label(PAIR, rules, certain("b", 0.7), principles=rules.principles[1:])
    assert label.p == pytest.approx(0.7) and label.weight == 1.0
    assert label.axes["x"].p is None
    assert [v.principle_id for v in label.votes] == ["b"]


def test_paraphrases_average_within_an_order() -> None:
    judged = [
        judgement("a", "ab", math.log(0.9), math.log(0.1)),
        judgement("a", "ab", math.log(0.5), math.log(0.5), wording=1),
        judgement("a", "ba", math.log(0.6), math.log(0.4)),
    ]
    vote = aggregate.label(PAIR, ONE, judged).votes[0]
    assert (vote.p_ab, vote.p_ba, vote.p) == pytest.approx((0.7, 0.4, 0.55))


@pytest.mark.parametrize(
    "bad",
    [
        {"clamp": (0.6, 0.7)},
        {"clamp": (0.4, 0.3)},
        {"abstain": (-0.1, 0.6)},
        {"temperature": 0},
        {"temperature": math.nan},
        {"critic_weights": {"fake:one": 0}},
        {"critic_weights": {"fake:one": math.inf}},
        {"unknown": 1},
    ],
)
def test_rules_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(bad)
