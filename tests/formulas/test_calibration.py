from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlaif.formulas import calibration


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize("equal_mass", [False, True])
def test_expected_calibration_error(equal_mass: bool) -> None:
    # bin .6: 2/5 * |.5 - .6| = .04; bin .9: 3/5 * |2/3 - .9| = .14
    confidence, correct = column(0.6, 0.6, 0.9, 0.9, 0.9), column(1, 0, 1, 1, 0)
    assert calibration.ece(confidence, correct, equal_mass=equal_mass) == pytest.approx(0.18)


def test_one_bin_compares_the_two_means() -> None:
    assert calibration.ece(column(0.6, 0.9), column(1, 0), bins=1) == pytest.approx(0.25)


def test_equal_mass_bins_tell_apart_what_one_wide_bin_blurs() -> None:
    confidence, correct = column(0.91, 0.92, 0.98, 0.99), column(1, 1, 1, 0)
    # one bin holds all: |.75 - .95|; two bins of two: (|2 - 1.83| + |1 - 1.97|) / 4
    assert calibration.ece(confidence, correct) == pytest.approx(0.2)
    assert calibration.ece(confidence, correct, bins=2, equal_mass=True) == pytest.approx(0.285)


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.75, 1.0]), st.sampled_from([0, 0.5, 1])), min_size=1))
def test_order_of_examples_does_not_matter_and_ece_is_at_most_one(rows: list[tuple[float, float]]) -> None:
    shuffled = random.Random(len(rows)).sample(rows, len(rows))
    for equal_mass in (False, True):
        error, again = (
            calibration.ece(column(*(c for c, _ in r)), column(*(y for _, y in r)), bins=3, equal_mass=equal_mass)
            for r in (rows, shuffled)
        )
        assert error == pytest.approx(again, abs=1e-12)
        assert 0 <= error <= 1


def test_brier_and_nll() -> None:
    probability, p = column(0.9, 0.2), column(1, 0.5)
    assert calibration.brier(probability, p) == pytest.approx(0.05)
    # (-ln .9 - .5 ln .2 - .5 ln .8) / 2
    assert calibration.nll(probability, p) == pytest.approx(0.5108256, abs=1e-6)
    assert calibration.nll(column(1.0, 0.0), column(1.0, 0.0)) == 0
    assert calibration.nll(column(1.0), column(0.0)) == math.inf


@given(st.floats(0.05, 20), st.lists(st.floats(0.1, 3), min_size=1, max_size=8))
def test_the_temperature_that_made_the_labels_is_found(tau: float, sizes: list[float]) -> None:
    difference = column(*sizes, *(-s for s in sizes)) * tau
    assert calibration.temperature(difference, torch.sigmoid(difference / tau)) == pytest.approx(tau, rel=1e-6)


def test_temperature_of_one_pair_is_its_difference_over_the_label_s_logit() -> None:
    # 2 of 3 alike pairs with difference 2 are right: 2 / tau = logit(2/3) = ln 2
    assert calibration.temperature(column(2, 2, 2), column(1, 1, 0)) == pytest.approx(2 / math.log(2), rel=1e-9)


def test_no_temperature_where_none_is_best() -> None:
    assert calibration.temperature(column(1, -2), column(1, 0)) is None  # all right, hard labels: sharper is better
    assert calibration.temperature(column(1, -2), column(0, 1)) is None  # all wrong: flatter is better
    assert calibration.temperature(column(0, 0), column(1, 0)) is None  # the scores say nothing


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(0.05, 0.95)), min_size=1, max_size=8))
def test_swapping_the_responses_changes_nothing(rows: list[tuple[float, float]]) -> None:
    difference, p = column(*(d for d, _ in rows)), column(*(p for _, p in rows))
    for measure in (calibration.brier, calibration.nll):
        swapped = measure(torch.sigmoid(-difference), 1 - p)
        assert measure(torch.sigmoid(difference), p) == pytest.approx(swapped, abs=1e-12)
    tau, swapped_tau = calibration.temperature(difference, p), calibration.temperature(-difference, 1 - p)
    assert (tau is None) == (swapped_tau is None)
    if tau is not None:
        assert tau == pytest.approx(swapped_tau, rel=1e-6)


def test_no_examples_unequal_shapes_and_nan_are_refused() -> None:
    for probability, p in [(column(), column()), (column(0.5), column(1, 0)), (column(math.nan), column(1))]:
        for function in (calibration.ece, calibration.brier, calibration.nll, calibration.temperature):
            with pytest.raises(ValueError, match=r"shapes|finite"):
                function(probability, p)
