"""Which responses meet: all, or a tournament that is fair."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.records.pairing import schedule


def test_all_pairs_where_nothing_limits_them() -> None:
    assert schedule(4, None, 0, "p") == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert schedule(4, 6, 0, "p") == schedule(4, 99, 0, "p") == schedule(4, None, 0, "p")
    assert schedule(2, 1, 0, "p") == [(0, 1)]
    assert schedule(1, None, 0, "p") == schedule(0, None, 0, "p") == []


@given(st.integers(2, 17), st.integers(1, 140), st.integers(0, 9))
@settings(deadline=None)
def test_a_tournament_is_balanced(responses: int, most: int, seed: int) -> None:
    chosen = schedule(responses, most, seed, "p")
    possible = list(combinations(range(responses), 2))
    assert len(chosen) == min(most, len(possible))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(possible)
    assert chosen == sorted(chosen)
    games = Counter(player for pair in chosen for player in pair)
    counts = [games[player] for player in range(responses)]
    assert max(counts) - min(counts) <= 1 + responses % 2


def test_enough_games_let_everybody_play() -> None:
    for responses in range(2, 12):
        chosen = schedule(responses, (responses + 1) // 2 * 2, 3, "p")
        assert {player for pair in chosen for player in pair} == set(range(responses))


def test_the_draw_follows_the_seed_and_the_prompt() -> None:
    assert schedule(8, 4, 1, "p") == schedule(8, 4, 1, "p")
    assert len({tuple(schedule(8, 4, seed, "p")) for seed in range(20)}) > 15
    assert len({tuple(schedule(8, 4, 1, f"p{i}")) for i in range(20)}) > 15
