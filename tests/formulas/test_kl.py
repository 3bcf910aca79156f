from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlaif.formulas import kl

Estimator = Callable[[Tensor, Tensor], Tensor]
REFERENCE = torch.tensor([0.25, 0.75], dtype=torch.float64)


def test_estimators_per_token() -> None:
    logprobs, ref = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.5, -1.0, -0.5])
    assert kl.k1(logprobs, ref).tolist() == pytest.approx([0.5, -1, 0])
    assert kl.k2(logprobs, ref).tolist() == pytest.approx([0.125, 0.5, 0])
    assert kl.k3(logprobs, ref).tolist() == pytest.approx([0.106531, 0.718282, 0], abs=1e-6)


@pytest.mark.parametrize(("estimator", "expected"), [(kl.k1, 0.143841), (kl.k2, 0.161214), (kl.k3, 0.143841)])
def test_expectation_under_the_policy(estimator: Estimator, expected: float) -> None:
    policy = torch.tensor([0.5, 0.5], dtype=torch.float64)
    mean = (policy * estimator(policy.log(), REFERENCE.log())).sum()
    assert mean.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("estimator", "expected"), [(kl.k1, 0.0), (kl.k2, 0.274653), (kl.k3, 0.25)])
def test_expected_gradient_as_a_loss(estimator: Estimator, expected: float) -> None:
    # Samples come from the policy, but the gradient goes through the estimator alone. The KL's own is .274653.
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(0)
    torch.autograd.backward((logprobs.exp().detach() * estimator(logprobs, REFERENCE.log())).sum())
    assert logits.grad is not None
    assert logits.grad[0].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("estimator", "expected"), [(kl.k1, 0.274653), (kl.k2, 0.039506), (kl.k3, 0.024653)])
def test_expected_gradient_inside_a_reward(estimator: Estimator, expected: float) -> None:
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(0)
    weight = (logprobs.exp() * estimator(logprobs, REFERENCE.log())).detach()
    torch.autograd.backward((weight * logprobs).sum())
    assert logits.grad is not None
    assert logits.grad[0].item() == pytest.approx(expected, abs=1e-6)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k2_and_k3_are_never_negative_and_k1_changes_sign_when_swapped(first: float, second: float) -> None:
    x, y = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    assert kl.k2(x, y) >= 0
    assert kl.k3(x, y) >= 0
    assert kl.k1(x, y) == -kl.k1(y, x)


def test_k3_is_exact_for_nearly_equal_policies_in_float32() -> None:
    # exp(-x) - 1 + x would be off by several times its value here
    result = kl.k3(torch.tensor([1e-4]), torch.tensor([0.0]))
    assert result.item() == pytest.approx(5e-9, rel=1e-2)


def test_mean_per_sequence_sums_tokens_and_averages_rows_that_have_any() -> None:
    kl_BT = torch.tensor([[0.5, -1.0, 0.0], [1.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    keep_BT = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    assert kl.mean_per_sequence(kl_BT, keep_BT).item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match="no kept sequences"):
        kl.mean_per_sequence(kl_BT, torch.zeros(3, 3, dtype=torch.bool))


@pytest.mark.parametrize(("observed", "expected"), [(9.0, 0.202048), (5.4, 0.198976), (6.0, 0.2), (0.0, 0.197952)])
def test_adaptive_coefficient(observed: float, expected: float) -> None:
    result = kl.adaptive_coefficient(0.2, observed=observed, target=6, episodes=512, horizon=10_000)
    assert result == pytest.approx(expected, abs=1e-9)


def test_adaptive_coefficient_refuses_what_is_not_a_number() -> None:
    for observed in (math.nan, math.inf):
        with pytest.raises(ValueError, match="observed KL"):
            kl.adaptive_coefficient(0.2, observed, 6, 512, 10_000)
    with pytest.raises(ValueError, match="target"):
        kl.adaptive_coefficient(0.2, 1.0, 0, 512, 10_000)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, 0),
        (2, 0.193147),
        (4, 0.636294),
        (8, 1.204442),
        (16, 1.835089),
        (64, 3.174508),
        (1000, 5.908755),
        (12_500, 8.433564),
        (60_000, 10.002117),
    ],
)
def test_best_of_n(n: int, expected: float) -> None:
    assert kl.best_of_n(n) == pytest.approx(expected, abs=1e-6)


def test_best_of_n_bounds_the_exact_kl_of_a_discrete_policy() -> None:
    policy, reward = (0.5, 0.3, 0.2), (1.0, 2.0, 0.0)
    best = [0.0, 0.0, 0.0]
    for draws in product(range(3), repeat=4):
        best[max(draws, key=lambda a: reward[a])] += math.prod(policy[a] for a in draws)
    assert best == pytest.approx([0.2385, 0.7599, 0.0016], abs=1e-6)
    exact = sum(b * math.log(b / p) for b, p in zip(best, policy, strict=True))
    assert exact == pytest.approx(0.521982, abs=1e-6)
    assert sum(b * r for b, r in zip(best, reward, strict=True)) == pytest.approx(1.7583, abs=1e-4)
    assert exact < kl.best_of_n(4)
    with pytest.raises(ValueError, match="at least 1"):
        kl.best_of_n(0)
