"""Win rates, and what length does to them, on pairs that can be counted by hand."""

from __future__ import annotations

import math

import pytest

from rlaif.critique.wins import corrected, longer_wins, rate


def test_ties_count_half_and_failures_nothing() -> None:
    found = rate([0.9, 0.6, 0.5, 0.1, None])
    assert (found.wins, found.ties, found.losses, found.missing) == (2, 1, 1, 1)
    assert found.interval.value == 0.625 and found.interval.n == 4
    assert found.probability == pytest.approx(2.1 / 4)


def test_nothing_answered_is_no_rate() -> None:
    found = rate([None, None])
    assert found.interval.value is None and found.probability is None and found.missing == 2


def pairs(longer: tuple[int, int], shorter: tuple[int, int]) -> tuple[list[float | None], list[int]]:
    """Wins and losses of replies that are 100 characters longer, and of those that are 100 shorter."""
    outcomes = [*longer, *shorter]
    ps: list[float | None] = []
    for count, p in zip(outcomes, (0.9, 0.1, 0.9, 0.1), strict=True):
        ps += [p] * count
    return ps, [100] * sum(longer) + [-100] * sum(shorter)


def test_the_rate_at_equal_length_lies_between_the_groups_in_log_odds() -> None:
    """Odds of 4 where longer, of 1 where shorter: at equal length the root of 4, which is 2 to 1. The variance is a
    quarter of the sum of both groups' 1 / (n p q): (1 / 1.6 + 1 / 2.5) / 4, so that the interval is sigma(ln 2 ± 1.96
    * 0.50621)."""
    found = corrected(*pairs((8, 2), (5, 5)))
    assert found.value == pytest.approx(2 / 3)
    assert [found.low, found.high] == pytest.approx([0.42581, 0.84360], abs=1e-4)
    assert found.slope == pytest.approx(math.log(2) / math.tanh(1))
    assert (found.n, found.extrapolated, found.reason) == (20, False, None)
    assert rate(pairs((8, 2), (5, 5))[0]).interval.value == 0.65


def test_where_length_does_nothing_nothing_is_corrected() -> None:
    found = corrected(*pairs((7, 3), (7, 3)))
    assert found.value == pytest.approx(0.7) and found.slope == pytest.approx(0, abs=1e-9)


def test_the_other_model_sees_the_mirror_image() -> None:
    ps, lengths = pairs((8, 2), (5, 5))
    mirrored = corrected([None if p is None else 1 - p for p in ps], [-d for d in lengths])
    assert mirrored.value == pytest.approx(1 / 3)


def test_failures_are_left_out_of_the_correction() -> None:
    ps, lengths = pairs((8, 2), (5, 5))
    assert corrected([*ps, None], [*lengths, 5000]) == corrected(ps, lengths)


def test_replies_that_are_longer_throughout_are_an_extrapolation() -> None:
    found = corrected([0.9, 0.1, 0.9, 0.1], [10, 10, 200, 200])
    assert found.value == pytest.approx(0.5) and found.extrapolated


@pytest.mark.parametrize(
    "ps, lengths, words",
    [
        ([], [], "no pair was answered"),
        ([0.9, 0.1], [30, 30], "differ by the same length"),
        ([0.9, 0.9], [30, -30], "won every pair"),
        ([0.1, 0.2], [30, -30], "lost every pair"),
        ([0.9, 0.1], [30, -30], "only with its longer"),
        ([0.9, 0.9, 0.1, 0.1], [30, 20, 20, -5], "only with its longer"),  # they meet, and do not overlap
        ([0.1, 0.9], [30, -30], "only with its shorter"),
    ],
)
def test_what_cannot_be_identified_is_said(ps: list[float | None], lengths: list[int], words: str) -> None:
    found = corrected(ps, lengths)
    assert found.value is None and found.reason is not None and words in found.reason


def test_a_tie_is_half_of_each() -> None:
    """The tie at -30 is half a win: the lengths of wins and of losses overlap."""
    assert corrected([0.9, 0.1, 0.5], [30, 0, -30]).value is not None


def test_how_often_the_longer_wins() -> None:
    found = longer_wins([0.9, 0.9, 0.5, 0.1, None, 0.9], [5, -5, 5, -5, 5, 0])
    assert (found.value, found.n) == (0.625, 4)
