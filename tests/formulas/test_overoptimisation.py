"""Fits of over-optimisation curves: the published peaks, and points that the curve itself made."""

from __future__ import annotations

import math

import pytest
import torch

from rlaif.formulas import overoptimisation
from rlaif.formulas.overoptimisation import Curve


@pytest.mark.parametrize(
    ("form", "alpha", "beta", "peak", "height"),
    [("best_of_n", 1.0, 0.25, 2.0, 1.0), ("rl", 1.0, 0.5, math.e, 1.35914)],
)
def test_a_curve_is_found_again_with_its_peak(
    form: overoptimisation.Form, alpha: float, beta: float, peak: float, height: float
) -> None:
    true = Curve(form, alpha, beta, peak, None)
    d_N = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.5, 4.0])
    found = overoptimisation.fit(d_N, torch.tensor([true.at(float(d)) for d in d_N]), form)
    assert (found.alpha, found.beta) == pytest.approx((alpha, beta), abs=1e-5)
    assert found.peak == pytest.approx(peak, abs=1e-4)
    assert found.at(peak) == pytest.approx(height, abs=1e-4)
    assert found.r_squared == pytest.approx(1.0)


def test_known_zeros() -> None:
    assert Curve("best_of_n", 1.0, 0.25, 2.0, None).at(4.0) == pytest.approx(0.0)
    assert Curve("rl", 1.0, 0.5, math.e, None).at(7.38906) == pytest.approx(0.0, abs=1e-5)


def test_scores_that_only_rise_have_no_peak() -> None:
    d_N = torch.tensor([1.0, 2.0, 3.0])
    assert overoptimisation.fit(d_N, d_N.square(), "best_of_n").peak is None
    assert overoptimisation.fit(d_N, d_N, "rl").peak is None


def test_noise_lowers_the_share_that_is_explained() -> None:
    d_N = torch.linspace(0.5, 4, 8)
    noise_N = torch.tensor([0.3, -0.3] * 4)
    found = overoptimisation.fit(d_N, d_N * (1 - 0.25 * d_N) + noise_N, "best_of_n")
    assert found.r_squared is not None and 0 < found.r_squared < 0.95


@pytest.mark.parametrize("d", [[0.0, 0.0, 1.0], [1.0, 1.0], [-1.0, 1.0, 2.0], [float("nan"), 1.0, 2.0]])
def test_what_cannot_be_fitted_is_refused(d: list[float]) -> None:
    with pytest.raises(ValueError, match="distance"):
        overoptimisation.fit(torch.tensor(d), torch.zeros(len(d)), "rl")
