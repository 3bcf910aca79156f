"""The generator-discriminator gap by hand."""

from __future__ import annotations

import pytest

from rlaif.critique import gap
from rlaif.records.gap import GapPair, GapRow
from rlaif.records.prompt import Message, Prompt

Said = tuple[int, int, float | None, float | None]


def row(name: str, samples: list[int], said: list[Said], scores: list[dict[str, float]] | None = None) -> GapRow:
    """Texts "a", "b", ...; of each pair the places, the critic's P(first) and the judge's verdict."""
    count = max(samples) + 1
    return GapRow(
        model="m",
        prompt=Prompt(id=name, messages=[Message(role="user", content=name)]),
        samples=samples,
        texts=[chr(97 + at) for at in range(count)],
        scores=scores or [{} for _ in range(count)],
        pairs=[GapPair(first=a, second=b, critic=c, judge=j) for a, b, c, j in said],
    )


# The judge says a > b > c. The critic takes b for the best: right of (a, c) and (b, c), wrong of (a, b).
RIGHT_TWICE = row("x", [0, 1, 2], [(0, 1, 0.4, 1.0), (0, 2, 0.9, 1.0), (1, 2, 0.8, 1.0)])
# b is better than a, which was drawn twice; the critic agrees, with P = 0.7 for b.
AGREES = row("y", [0, 0, 1], [(0, 1, 0.3, 0.0)])


def test_discrimination_counts_pairs_of_samples_that_the_judge_decides() -> None:
    tie = row("tie", [0, 1], [(0, 1, 0.9, 0.5)])
    unsure = row("unsure", [0, 1], [(0, 1, 0.5, 1.0)])
    silent = row("silent", [0, 1], [(0, 1, None, 1.0)])
    found = gap.discrimination([RIGHT_TWICE, AGREES, tie, unsure, silent])
    assert found.n == 3  # prompts: the tie and the pair without an answer count in none
    assert found.value == pytest.approx((2 / 3 + 1 + 0.5) / 3)


def test_the_critics_pick_beside_one_sample_and_the_judges() -> None:
    found = gap.measure("m", "hf:m", [RIGHT_TWICE, AGREES], {}, unsampled=1, failed=2)
    best, wins = found.lines
    # Of x: one of three samples is the best, the critic picks b, which is not. Of y: b, which both pick.
    assert best.name == "as good as the best of 3"
    assert best.one.value == pytest.approx(1 / 3)
    assert best.picked.value == pytest.approx(1 / 2)
    assert best.best.value == 1
    assert best.gap.value == pytest.approx(1 / 6)
    # Wins of x: a 1, b 1/2, c 0. Of y: a (1/2 + 0) / 2 each, b 1. The critic picks b and b.
    assert wins.one.value == pytest.approx(0.5)
    assert wins.picked.value == pytest.approx(0.75)
    assert wins.best.value == 1
    assert (found.prompts, found.unsampled, found.incomplete, found.failed) == (2, 1, 0, 2)
    assert (found.pairs, found.ties, found.unjudged, found.uncompared) == (4, 0, 0, 0)


def test_of_equal_picks_the_mean_counts() -> None:
    undecided = row("x", [0, 1], [(0, 1, 0.5, 1.0)])
    best, wins = gap.measure("m", "hf:m", [undecided], {}, unsampled=0, failed=0).lines
    assert best.picked.value == best.one.value == 0.5 and best.gap.value == 0
    assert wins.picked.value == 0.5


def test_a_prompt_with_a_missing_judgement_is_counted_and_picks_nothing() -> None:
    unjudged = row("u", [0, 1], [(0, 1, 0.9, None)])
    uncompared = row("v", [0, 1], [(0, 1, None, 1.0)])
    found = gap.measure("m", "hf:m", [RIGHT_TWICE, unjudged, uncompared], {}, unsampled=0, failed=0)
    assert (found.incomplete, found.unjudged, found.uncompared) == (2, 1, 1)
    assert found.lines[0].one.n == 1
    nothing = gap.measure("m", "hf:m", [unjudged], {}, unsampled=0, failed=0)
    assert nothing.discrimination.value is None and nothing.lines[0].gap.value is None


def test_samples_that_are_all_the_same_leave_nothing_to_pick() -> None:
    found = gap.measure("m", "hf:m", [row(str(n), [0, 0], []) for n in range(3)], {}, unsampled=0, failed=0)
    best, wins = found.lines
    assert best.one.value == best.picked.value == 1 and wins.one.value == 0.5
    assert best.closed.value is None and "nothing" in (best.closed.reason or "")
    assert found.discrimination.value is None


def test_a_scorers_scores_are_lines_of_their_own_and_its_scale_is_free() -> None:
    rows = [
        row(f"x{n}", [0, 1], [(0, 1, critic, 1.0)], [{"good": 10.0 + n, "odd": 1.0}, {"good": float(n)}])
        for n, critic in enumerate((0.9, 0.9, 0.9, 0.1))
    ]
    found = gap.measure("m", "hf:m", rows, {"good": 1, "odd": 1, "absent": -1}, unsampled=0, failed=0)
    assert [line.name for line in found.lines[2:]] == ["good"]  # `odd` is not said of every sample
    good = found.lines[2]
    # One sample: 5 + n; the critic's: 10 + n three times, then 3; the judge's: 10 + n.
    assert good.one.value == pytest.approx(6.5)
    assert good.picked.value == pytest.approx((10 + 11 + 12 + 3) / 4)
    assert good.best.value == pytest.approx(11.5)
    assert good.gap.value == pytest.approx(2.5)
    assert good.closed.value == pytest.approx(0.5)
    assert good.closed.low is not None and good.closed.low < 0.5


def test_the_interval_of_a_ratio() -> None:
    # r = 6 / 4; errors 0.5 and -0.5 in turn: half width 1.96 sqrt(4 * 0.25 * 4 / 3) / 4.
    found = gap.ratio([(2.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
    assert found.value == 1.5
    assert found.high == pytest.approx(1.5 + 1.959964 * (4 / 3) ** 0.5 / 4)
    same = gap.ratio([(0.5, 1.0), (1.0, 2.0)])
    assert (same.value, same.low) == (0.5, None)  # nothing says how sure that is
