"""Ratings against odds that can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from rlaif.critique.bradley_terry import Game, elo, ratings, unrated

POINTS = 400 * math.log10(3)  # of odds of three to one: 190.85


def games(*counted: tuple[str, str, int, int]) -> dict[str, list[Game]]:
    """A prompt for each game: of two models, how often the first won and lost."""
    rows = [(a, b, 1.0) for a, b, won, _ in counted for _ in range(won)]
    rows += [(a, b, 0.0) for a, b, _, lost in counted for _ in range(lost)]
    return {str(number): [row] for number, row in enumerate(rows)}


def test_two_models_differ_by_their_log_odds() -> None:
    found = elo({("a", "b"): 3.0, ("b", "a"): 1.0}, ["a", "b"])
    assert found == {"a": pytest.approx(1000 + POINTS / 2), "b": pytest.approx(1000 - POINTS / 2)}


def test_who_never_met_is_rated_through_a_third() -> None:
    """a beats b three to one, b beats c three to one: a and c are two steps apart."""
    found = elo({("a", "b"): 3.0, ("b", "a"): 1.0, ("b", "c"): 3.0, ("c", "b"): 1.0}, ["a", "b", "c"])
    assert [found[name] for name in "abc"] == pytest.approx([1000 + POINTS, 1000, 1000 - POINTS])


def test_a_circle_makes_all_equal() -> None:
    wins = {(a, b): 2.0 for a, b in (("a", "b"), ("b", "c"), ("c", "a"))}
    wins |= {(b, a): 1.0 for a, b in wins}
    assert list(elo(wins, ["a", "b", "c"]).values()) == pytest.approx([1000] * 3)


def test_the_strongest_comes_first_with_an_interval_around_it() -> None:
    own = games(("a", "b", 30, 10), ("a", "c", 36, 4))
    found = ratings(own, ["c", "b", "a"], seed=0)
    assert [r.model for r in found.ratings] == ["a", "b", "c"] and found.reason is None
    assert found.ratings[0].elo - found.ratings[1].elo == pytest.approx(POINTS)
    for one in found.ratings:
        assert one.low is not None and one.high is not None and one.low < one.elo < one.high
    assert found == ratings(own, ["c", "b", "a"], seed=0) and found != ratings(own, ["c", "b", "a"], seed=1)
    assert (found.prompts, found.replicates) == (80, 500)


def test_more_prompts_make_the_interval_narrower() -> None:
    def width(times: int) -> float:
        top = ratings(games(("a", "b", 6 * times, 4 * times)), ["a", "b"], seed=0).ratings[0]
        assert top.low is not None and top.high is not None
        return top.high - top.low

    assert width(16) == pytest.approx(width(4) / 2, rel=0.15)  # 500 replicates place a percentile that roughly


def test_samples_without_ratings_are_counted_and_too_many_leave_no_interval() -> None:
    """Of four prompts with one loss, a third of all samples, (3/4)^4 = 0.316, draw no loss at all, and one in 256
    nothing else. Of 500 samples that share is known to about a tenth."""
    found = ratings(games(("a", "b", 3, 1)), ["a", "b"], seed=0)
    assert found.lost == pytest.approx(0.32 * 500, rel=0.2) and found.ratings[0].low is None
    assert found.ratings[0].elo - found.ratings[1].elo == pytest.approx(POINTS)


def test_who_was_not_compared_cannot_be_rated() -> None:
    found = ratings(games(("a", "b", 2, 2), ("c", "d", 2, 2)), ["a", "b", "c", "d"], seed=0)
    assert found.ratings == [] and found.reason is not None
    assert "connects a, b with c, d" in found.reason


def test_who_never_lost_has_no_finite_rating() -> None:
    reason = unrated({("a", "b"): 4.0, ("b", "a"): 0.0, ("b", "c"): 1.0, ("c", "b"): 1.0}, ["a", "b", "c"])
    assert reason is not None and reason.startswith("a never lost to b, c, nor tied")
    tied = {("a", "b"): 3.5, ("b", "a"): 0.5, ("b", "c"): 1.0, ("c", "b"): 1.0}
    assert unrated(tied, ["a", "b", "c"]) is None


def test_without_a_single_game_nobody_is_rated() -> None:
    assert ratings({"x": []}, ["a", "b"], seed=0).reason is not None
