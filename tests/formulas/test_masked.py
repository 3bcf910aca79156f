from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif.formulas import masked

NAN = float("nan")
VALUES = torch.tensor([[1.0, NAN, 3.0], [8.0, NAN, NAN]], dtype=torch.float64)
KEEP = torch.tensor([[True, False, True], [True, False, False]])


def test_sums_and_mean_of_kept_entries() -> None:
    assert masked.sum(VALUES, KEEP).item() == 12
    assert masked.sum(VALUES, KEEP, dim=1).tolist() == [4, 8]
    assert masked.sum(VALUES, KEEP, dim=0).tolist() == [9, 0, 3]
    assert masked.mean(VALUES, KEEP).item() == 4


@pytest.mark.parametrize(
    ("unbiased", "expected"),
    [(False, [-0.78736, -0.62369, 1.41105]), (True, [-0.64288, -0.50924, 1.15212])],
)
def test_whitened_advantages(unbiased: bool, expected: list[float]) -> None:
    advantages = torch.tensor([[0.17575, 0.185, 0.3]], dtype=torch.float64)
    white = masked.whiten(advantages, torch.ones(1, 3, dtype=torch.bool), unbiased=unbiased)
    assert white.tolist()[0] == pytest.approx(expected, abs=1e-5)


def test_whitened_rewards_keep_their_mean() -> None:
    rewards = torch.tensor([[-0.1, -0.2, 1.0]], dtype=torch.float64)
    white = masked.whiten(rewards, torch.ones(1, 3, dtype=torch.bool), shift_mean=False)
    assert white.tolist()[0] == pytest.approx([-0.379806, -0.563748, 1.643554], abs=1e-6)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.floats(-5, 5))
def test_whitened_values_have_mean_0_and_variance_1(numbers: list[float], offset: float) -> None:
    numbers[0] = max(numbers) + 1  # not all equal
    values = torch.tensor([numbers], dtype=torch.float64)
    keep = torch.ones_like(values, dtype=torch.bool)
    white = masked.whiten(values, keep, epsilon=0)
    assert white.mean().item() == pytest.approx(0, abs=1e-9)
    assert white.square().mean().item() == pytest.approx(1, abs=1e-9)
    assert torch.allclose(masked.whiten(values * 3 + offset, keep, epsilon=0), white, atol=1e-9)
    assert masked.whiten(values, keep, shift_mean=False).mean().item() == pytest.approx(values.mean().item(), abs=1e-9)


def test_equal_values_whiten_to_zero() -> None:
    assert masked.whiten(torch.full((1, 3), 7.0), torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0, 0, 0]]


def test_an_empty_batch_has_no_mean_and_no_variance() -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="no kept entries"):
        masked.mean(torch.ones(2, 3), nothing)
    with pytest.raises(ValueError, match="variance of 0"):
        masked.whiten(torch.ones(2, 3), nothing)
    with pytest.raises(ValueError, match="variance of 1"):
        masked.whiten(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), unbiased=True)


@pytest.mark.parametrize("keep", [torch.ones(3, dtype=torch.bool), torch.ones(2, 3), torch.ones(2, 1).bool()])
def test_masks_that_would_broadcast_or_are_not_boolean_are_refused(keep: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="keep must be boolean"):
        masked.sum(torch.ones(2, 3), keep)
