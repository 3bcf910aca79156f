"""Agreement figures against hand-worked values."""

from __future__ import annotations

import pytest

from rlaif.critique import aggregate
from rlaif.critique.agreement import agreement, expected_calibration_error, score, wilson
from tests.critique.judged import PAIR, certain, constitution, judgement


def test_wilson_by_hand() -> None:
    # 8 of 10 at 95 %: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half width 0.22656 (Newcombe 1998 gives .4902, .9433)
    interval = wilson(8, 10)
    assert (interval.value, interval.n) == (0.8, 10)
    assert interval.low == pytest.approx(0.4902, abs=1e-4)
    assert interval.high == pytest.approx(0.9433, abs=1e-4)
    assert wilson(0, 0).value is None


def test_wilson_stays_inside_zero_and_one() -> None:
    assert wilson(0, 5).low == pytest.approx(0.0, abs=1e-12)
    assert wilson(5, 5).high == pytest.approx(1.0, abs=1e-12)


def test_ece_by_hand() -> None:
    assert expected_calibration_error([0.6, 0.6, 0.9, 0.9, 0.9], [1, 0, 1, 1, 0]) == pytest.approx(0.18)
    assert expected_calibration_error([], []) is None
    assert expected_calibration_error([1.0], [1.0]) == 0.0


def test_score_counts_an_exact_tie_as_half() -> None:
    assert [score(0.9, 0), score(0.9, 1), score(0.1, 1), score(0.5, 0)] == [1.0, 0.0, 1.0, 0.5]


def test_failed_pairs_enter_no_figure() -> None:
    rules = constitution(("a", "x", 1.0))
    chosen = PAIR.model_copy(update={"preferred": 0})
    right = aggregate.label(chosen, rules, certain("a", 0.9))
    wrong = aggregate.label(chosen, rules, certain("a", 0.2))
    failed = aggregate.label(chosen, rules, [judgement("a", "ab"), judgement("a", "ba")])
    unknown = aggregate.label(PAIR, rules, certain("a", 0.9))
    result = agreement([right, wrong, failed, unknown])
    assert (result.pairs, result.failed) == (3, 1)
    assert (result.accuracy.value, result.accuracy.n) == (0.5, 2)
    assert result.swap_consistency.n == 2
    assert result.by_principle["a"].n == 2
    assert result.first_position == pytest.approx(0.5)
