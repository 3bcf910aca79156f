"""Labels from questions about one response at a time: checks, their signs, and scores."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.critique import aggregate
from rlaif.records.label import Label
from tests.critique.judged import PAIR, checked, constitution, judgement, scored

TOXIC = constitution(("toxic", "x", 1.0), cost=["x"], good="no")
TRUE = constitution(("true", "x", 1.0), good="yes")
RATED = constitution(("a", "x", 1.0))


def test_a_check_by_hand() -> None:
    # P(Yes) .05 and .15 average to .1: good .9; .8 and .8: good .2. (.9 * .8) / (.9 * .8 + .2 * .1) = .72 / .74
    label = aggregate.label(PAIR, TOXIC, checked("toxic", 0.05, 0.15, 0.8, 0.8))
    vote = label.votes[0]
    assert vote.values == pytest.approx((0.9, 0.2))
    assert label.p == vote.p == pytest.approx(0.72 / 0.74)
    # Order ab: good .95 and .2, so .76 / .77; order ba: .85 and .2, so .68 / .71.
    assert vote.p_ab == pytest.approx(0.76 / 0.77)
    assert vote.p_ba == pytest.approx(0.68 / 0.71)
    assert label.order_consistent is True
    assert label.position_bias is None  # there was no option A


def test_the_good_answer_says_which_way() -> None:
    assert aggregate.label(PAIR, TRUE, checked("true", 0.9, 0.9, 0.2, 0.2)).p == pytest.approx(0.72 / 0.74)


def test_two_that_are_equally_good_or_bad_are_a_tie() -> None:
    for p in (1e-9, 0.3, 1 - 1e-9):
        assert aggregate.label(PAIR, TRUE, checked("true", p, p, p, p)).p == pytest.approx(0.5)


def test_impossible_odds_are_a_tie() -> None:
    """Both certainly good: neither is better, and nothing is divided by 0."""
    sure = [
        judgement("true", order, 0.0, -900.0, form="check", response=response)
        for response in (0, 1)
        for order in ("ab", "ba")
    ]
    assert aggregate.label(PAIR, TRUE, sure).p == 0.5


def test_a_check_that_turns_with_its_words_is_order_inconsistent() -> None:
    # Asked "Yes or No" the first is good, asked "No or Yes" the second is.
    label = aggregate.label(PAIR, TRUE, checked("true", 0.9, 0.2, 0.1, 0.6))
    assert label.order_consistent is False


@pytest.mark.parametrize("missing", range(4))
def test_a_check_without_all_four_answers_has_no_vote(missing: int) -> None:
    judged = checked("toxic", 0.1, 0.1, 0.8, 0.8)
    gone = judged[missing]
    judged[missing] = judgement("toxic", gone.order, form="check", response=gone.response)
    label = aggregate.label(PAIR, TOXIC, judged)
    assert (label.p, label.weight) == (None, 0.0)
    assert (label.votes[0].failed, label.votes[0].values) == (1, None)
    # The other response's sign is as sure as ever.
    assert [s.response for s in label.signs] == [1 if missing < 2 else 0]


def test_signs_say_which_response_is_unsafe() -> None:
    first, second = aggregate.label(PAIR, TOXIC, checked("toxic", 0.05, 0.15, 0.7, 0.9)).signs
    assert [(s.response, s.sign) for s in (first, second)] == [(0, -1), (1, 1)]
    assert (first.p_unsafe, second.p_unsafe) == pytest.approx((0.1, 0.8))
    assert (second.category, second.axis, second.principle_id) == ("toxic category", "x", "toxic")


def test_where_yes_is_good_no_is_unsafe() -> None:
    rules = constitution(("true", "x", 1.0), cost=["x"], good="yes")
    signs = aggregate.label(PAIR, rules, checked("true", 0.9, 0.9, 0.2, 0.2)).signs
    assert [s.sign for s in signs] == [-1, 1]
    assert [s.p_unsafe for s in signs] == pytest.approx([0.1, 0.8])


def test_reward_axes_have_no_signs() -> None:
    assert aggregate.label(PAIR, TRUE, checked("true", 0.9, 0.9, 0.2, 0.2)).signs == []


def test_scores_by_hand() -> None:
    # P(7)=.5, P(8)=.3, P(10)=.2: mean 7.9, scaled 2 * 6.9 / 9 - 1 = .533333. Against a sure 8, scaled 5/9:
    # above it with .2, equal with .3, so .35.
    judged = [scored("a", 0, {7: 5, 8: 3, 10: 2}), scored("a", 1, {8: 10})]
    label = aggregate.label(PAIR, RATED, judged)
    assert label.votes[0].values == pytest.approx((0.533333, 5 / 9), abs=1e-6)
    assert label.p == pytest.approx(0.35)
    # One order is all there is: nothing is known of swapping.
    assert (label.order_consistent, label.position_bias) == (None, None)


def test_wordings_average_their_distributions() -> None:
    judged = [scored("a", 0, {10: 1}), scored("a", 0, {4: 1}, wording=1), scored("a", 1, {6: 1})]
    vote = aggregate.label(PAIR, RATED, judged).votes[0]
    assert vote.p == pytest.approx(0.5)
    assert vote.values == pytest.approx((2 * 6 / 9 - 1, 2 * 5 / 9 - 1))


def test_a_missing_score_is_no_vote() -> None:
    judged = [scored("a", 0, {7: 1}), judgement("a", "ab", form="score", response=1)]
    label = aggregate.label(PAIR, RATED, judged)
    assert (label.p, label.votes[0].values, label.votes[0].failed) == (None, None, 1)


counts = st.dictionaries(st.integers(1, 10), st.integers(1, 9), min_size=1)


@given(counts, counts)
@settings(deadline=None)
def test_swapping_the_responses_mirrors_scores(one: dict[int, int], two: dict[int, int]) -> None:
    label = aggregate.label(PAIR, RATED, [scored("a", 0, one), scored("a", 1, two)])
    mirror = aggregate.label(PAIR, RATED, [scored("a", 0, two), scored("a", 1, one)])
    mirrored(label, mirror)


probability = st.floats(1e-6, 1 - 1e-6)


@given(probability, probability, probability, probability)
@settings(deadline=None)
def test_swapping_the_responses_mirrors_checks(a: float, b: float, c: float, d: float) -> None:
    label = aggregate.label(PAIR, TOXIC, checked("toxic", a, b, c, d))
    mirror = aggregate.label(PAIR, TOXIC, checked("toxic", c, d, a, b))
    mirrored(label, mirror)
    places: dict[int, Literal[0, 1]] = {0: 1, 1: 0}
    swapped = [s.model_copy(update={"response": places[s.response]}) for s in mirror.signs]
    assert sorted(swapped, key=lambda s: s.response) == label.signs


def mirrored(label: Label, mirror: Label) -> None:
    assert label.p is not None and mirror.p is not None
    assert label.p == pytest.approx(1 - mirror.p, abs=1e-12)
    assert label.votes[0].values is not None
    assert label.votes[0].values[::-1] == mirror.votes[0].values
    assert label.axes["x"].p == pytest.approx(label.p)
