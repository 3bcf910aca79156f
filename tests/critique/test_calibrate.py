"""One temperature on known choices: worked by hand, recovered where it was planted, refused where there is none."""

from __future__ import annotations

import math
import random

import pytest

from rlaif.critique.calibrate import HIGHEST, LOWEST, describe, fit_temperature
from rlaif.records.errors import InputError


def test_by_hand() -> None:
    # All say 0.9 and three of four are right: sigmoid(log(9) / T) = 3/4 where T = log 9 / log 3 = 2.
    fit = fit_temperature([(0.9, 1), (0.9, 1), (0.1, 0), (0.9, 0)])
    assert fit.temperature == pytest.approx(2.0, abs=1e-6)
    assert fit.nll_before == pytest.approx(-(3 * math.log(0.9) + math.log(0.1)) / 4, abs=1e-9)
    assert fit.nll_after == pytest.approx(0.562335, abs=1e-6)  # the entropy of 3/4
    assert [fit.ece_before, fit.ece_after] == pytest.approx([0.15, 0.0], abs=1e-6)
    # Curvature in 1/T: 4 (log 9)^2 (3/4)(1/4); T^2 over its root.
    assert fit.standard_error == pytest.approx(4 / math.sqrt(0.75 * math.log(9) ** 2), rel=1e-5)
    assert (fit.n, fit.certain) == (4, 0)


def test_sharpening_by_hand() -> None:
    # All say 0.6 and nine of ten are right: T = log(1.5) / log(9).
    fit = fit_temperature([(0.6, 1)] * 9 + [(0.6, 0)])
    assert fit.temperature == pytest.approx(math.log(1.5) / math.log(9), abs=1e-6)


def planted(temperature: float, n: int, seed: int) -> list[tuple[float, float]]:
    """Critics' labels whose logits are `temperature` times too large."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        z = rng.gauss(0, 2)
        chosen = rng.random() < 1 / (1 + math.exp(-z / temperature))
        rows.append((1 / (1 + math.exp(-z)), float(chosen)))
    return rows


def test_a_planted_temperature_is_recovered_within_two_standard_errors() -> None:
    fit = fit_temperature(planted(2.0, 4000, seed=1))
    assert 0.03 < fit.standard_error < 0.15
    assert abs(fit.temperature - 2.0) < 2 * fit.standard_error
    assert fit.nll_after < fit.nll_before and fit.ece_after < 0.03 < fit.ece_before


def test_the_standard_error_is_the_spread_of_repeated_fits() -> None:
    fits = [fit_temperature(planted(2.0, 400, seed)) for seed in range(60)]
    z = [(fit.temperature - 2.0) / fit.standard_error for fit in fits]
    # The root mean square of 60 standard normals lies within 1 +- 0.27 with probability 0.997.
    assert 0.73 < math.sqrt(sum(x * x for x in z) / len(z)) < 1.27


def test_swapping_responses_and_the_order_of_rows_change_nothing() -> None:
    rows = planted(0.5, 200, seed=3)
    fit = fit_temperature(rows)
    turned = fit_temperature([(1 - p, 1 - y) for p, y in reversed(rows)])
    assert turned.temperature == pytest.approx(fit.temperature, rel=1e-6)
    assert turned.nll_after == pytest.approx(fit.nll_after, abs=1e-9)


def test_labels_of_exactly_zero_or_one_are_left_out_and_counted() -> None:
    rows = [(0.9, 1.0), (0.9, 1.0), (0.1, 0.0), (0.9, 0.0)]
    fit = fit_temperature([*rows, (1.0, 1.0), (0.0, 1.0)])
    assert (fit.n, fit.certain) == (4, 2)
    assert fit.temperature == pytest.approx(2.0, abs=1e-6)
    assert "2 of exactly 0 or 1 left out" in describe(fit)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "0 labels have a known choice"),
        ([(1.0, 1.0), (0.0, 0.0)], "2 labels have a known choice, all of exactly 0 or 1"),
        ([(0.9, 1.0), (0.2, 0.0)], "all 2 known choices are on the labels' side"),
        ([(0.9, 0.0), (0.2, 1.0)], "no better than chance"),
        ([(0.5, 1.0), (0.5, 0.0)], "no better than chance"),
        ([(0.9, 1.0), (0.9, 0.0)], "no better than chance"),
    ],
)
def test_where_nothing_can_be_fitted(rows: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fit_temperature(rows)
    assert "Fix:" in str(caught.value)


def test_an_optimum_outside_is_reported_as_the_bound() -> None:
    barely_wrong = [(0.52, 1.0)] * 50 + [(0.5 + 1e-9, 0.0)]
    assert fit_temperature(barely_wrong).temperature == LOWEST
    barely_right = [(0.9999, 1.0)] * 501 + [(0.9999, 0.0)] * 500
    fit = fit_temperature(barely_right)
    assert fit.temperature == HIGHEST and "bound" in describe(fit)


def test_extreme_labels_do_not_overflow() -> None:
    tiny = 5e-324  # the least positive number
    fit = fit_temperature([(tiny, 0.0), (1 - 1e-16, 1.0), (tiny, 1.0), (0.3, 0.0), (tiny, 0.0)])
    assert math.isfinite(fit.nll_after) and math.isfinite(fit.standard_error)
