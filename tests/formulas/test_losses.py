from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from rlaif.formulas import losses

ONE = torch.ones(1, 1, dtype=torch.bool)


def cell(number: float) -> Tensor:
    return torch.tensor([[number]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "expected", "clipped"),
    [
        (1.5, 1.0, None, -1.2, True),
        (1.5, -1.0, None, 1.5, False),
        (0.5, 1.0, None, -0.5, False),
        (0.5, -1.0, None, 0.8, True),
        (5.0, -1.0, None, 5.0, False),
        (5.0, -1.0, 3.0, 3.0, True),
        (2.9, -1.0, 3.0, 2.9, False),
        (5.0, 1.0, 3.0, -1.2, True),  # a dual clip concerns bad tokens only
        (0.1, 1.0, 3.0, -0.1, False),
    ],
)
def test_clipped_policy(
    ratio: float, advantage: float, dual_clip: float | None, expected: float, clipped: bool
) -> None:
    result = losses.clipped_policy(
        cell(math.log(ratio)), cell(0), cell(advantage), ONE, clip_range=0.2, dual_clip=dual_clip
    )
    assert result.loss_BT.item() == pytest.approx(expected)
    assert result.ratio_BT.item() == pytest.approx(ratio)
    assert result.clipped_BT.item() is clipped


@given(st.floats(-2, 2), st.floats(-3, 3), st.floats(0, 3))
def test_policy_gradient_is_minus_w_a_rho_or_zero_where_clipped(log_ratio: float, advantage: float, w: float) -> None:
    assume(advantage != 0)
    assume(min(abs(math.exp(log_ratio) - edge) for edge in (0.8, 1.2, 2.0)) > 1e-6)  # kinks
    logprobs, old = cell(log_ratio - 1).requires_grad_(), cell(-1)
    result = losses.clipped_policy(
        logprobs, old, cell(advantage), ONE, clip_range=0.2, dual_clip=2.0, importance_BT=cell(w)
    )
    torch.autograd.backward(result.loss_BT.sum())
    assert logprobs.grad is not None
    expected = 0.0 if result.clipped_BT.item() else -w * advantage * math.exp(log_ratio)
    assert logprobs.grad.item() == pytest.approx(expected, abs=1e-12)


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_the_clipped_objective_never_promises_more_than_the_plain_one(log_ratio: float, advantage: float) -> None:
    result = losses.clipped_policy(cell(log_ratio), cell(0), cell(advantage), ONE, clip_range=0.2)
    assert result.loss_BT.item() >= -advantage * math.exp(log_ratio) - 1e-12


def test_importance_weights_are_not_differentiated() -> None:
    weight, logprobs = cell(2).requires_grad_(), cell(0).requires_grad_()
    result = losses.clipped_policy(logprobs, cell(0), cell(1), ONE, clip_range=0.2, importance_BT=weight)
    torch.autograd.backward(result.loss_BT.sum())
    assert weight.grad is None
    assert logprobs.grad is not None and logprobs.grad.item() == -2


@pytest.mark.parametrize(
    ("value", "expected", "gradient"),
    [
        (1.5, 0.32, 0.0),  # clipped to 1.2, so (1.2 - 2)^2 / 2, and moving V further changes nothing
        (1.1, 0.405, -0.9),  # within the range
        (0.5, 1.125, -1.5),  # moved away from the return: the plain error is the larger one
        (3.5, 1.125, 1.5),
    ],
)
def test_clipped_value(value: float, expected: float, gradient: float) -> None:
    values = cell(value).requires_grad_()
    result = losses.clipped_value(values, cell(1), cell(2), ONE, clip_range=0.2)
    torch.autograd.backward(result.sum())
    assert result.item() == pytest.approx(expected)
    assert values.grad is not None
    assert values.grad.item() == pytest.approx(gradient)


def test_truncated_importance() -> None:
    log_weights = torch.tensor([[0.1, -0.2, 0.3, 1.0, 900.0]])
    engine = torch.full_like(log_weights, -3.0)
    keep = torch.ones_like(log_weights, dtype=torch.bool)
    weights = losses.truncated_importance((engine + log_weights).requires_grad_(), engine, keep, cap=2.0)
    assert weights.tolist()[0] == pytest.approx([1.105171, 0.818731, 1.349859, 2, 2], abs=1e-5)
    assert not weights.requires_grad
    wide = losses.truncated_importance(engine + log_weights, engine, keep, cap=5.0)
    assert wide[0, 3].item() == pytest.approx(2.718282, abs=1e-5)
    # Uncapped, the weights of a sequence's tokens multiply to that of the sequence.
    assert wide[0, :3].prod().item() == pytest.approx(1.221403, abs=1e-5)
    assert wide[0, :3].prod().item() ** (1 / 3) == pytest.approx(1.068939, abs=1e-5)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 10**6))
def test_losses_of_micro_batches_add_up(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = sum(sizes)
    x, old, a = (torch.randn(rows, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    keep = torch.rand(rows, 3, generator=generator) < 0.6

    def summed(part: slice) -> Tensor:
        policy = losses.clipped_policy(x[part], old[part], a[part], keep[part], clip_range=0.2).loss_BT
        value = losses.clipped_value(x[part], old[part], a[part], keep[part], clip_range=0.2)
        return torch.stack([policy.sum(), value.sum()])

    edges = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    parts = [summed(slice(low, high)) for low, high in pairwise(edges)]
    torch.testing.assert_close(torch.stack(parts).sum(0), summed(slice(0, rows)))
