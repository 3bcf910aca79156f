"""Logistic regression against what can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from rlaif.critique.logistic import Row, fit, sigmoid


def test_an_intercept_alone_is_the_log_odds() -> None:
    found = fit([Row((1.0,), 1.0, weight=3), Row((1.0,), 0.0)])
    assert found.coefficients == pytest.approx([math.log(3)])
    assert found.covariance[0][0] == pytest.approx(4 / 3)  # 1 / (n p q) of n = 4, p = 3/4


def test_a_slope_between_two_groups() -> None:
    """Odds of 1 at x = 0 and of 4 at x = 1; the variance of the slope is the sum of both groups' 1 / (n p q)."""
    found = fit([Row((1.0, 0.0), 0.5, weight=10), Row((1.0, 1.0), 0.8, weight=10)])
    assert found.coefficients == pytest.approx([0.0, math.log(4)], abs=1e-9)
    assert found.covariance[1][1] == pytest.approx(1 / 2.5 + 1 / 1.6)


def test_strong_odds_are_reached_from_afar() -> None:
    assert fit([Row((1.0,), 0.9999, weight=1e4)]).coefficients == pytest.approx([math.log(9999)])


def test_what_cannot_be_told_apart_has_no_coefficients() -> None:
    with pytest.raises(ArithmeticError):
        fit([Row((1.0, 1.0), 1.0), Row((1.0, 1.0), 0.0)])


def test_the_sigmoid_does_not_overflow() -> None:
    assert (sigmoid(-1000), sigmoid(0), sigmoid(1000)) == (0.0, 0.5, 1.0)
