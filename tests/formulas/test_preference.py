from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlaif.formulas import preference

scores = st.floats(-20, 20)
probabilities = st.floats(0, 1)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize(
    ("margin", "p", "least", "expected"),
    [
        (0.8, 1.0, 0.0, 0.371101),
        (0.8, 0.7, 0.0, 0.611101),
        (0.847298, 0.7, 0.0, 0.610864),
        (0.405465, 0.6, 0.0, 0.673012),
        (0.8, 1.0, 1.0, 0.798139),
        (-0.8, 0.0, 1.0, 0.798139),
    ],
)
def test_soft_bradley_terry(margin: float, p: float, least: float, expected: float) -> None:
    loss = preference.soft_bradley_terry(number(margin), number(p), least=least)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_gradient_is_predicted_minus_labelled_probability() -> None:
    difference = number(0.8).requires_grad_()
    torch.autograd.backward(preference.soft_bradley_terry(difference, number(0.7)))
    assert difference.grad is not None
    assert difference.grad.item() == pytest.approx(-0.010026, abs=1e-6)


@given(scores, probabilities, st.floats(0, 3))
def test_swapping_the_responses_mirrors_the_loss(margin: float, p: float, least: float) -> None:
    loss = preference.soft_bradley_terry(number(margin), number(p), least=least)
    mirrored = preference.soft_bradley_terry(number(-margin), 1 - number(p), least=least)
    assert loss.item() == pytest.approx(mirrored.item(), abs=1e-9)


@given(scores, probabilities)
def test_the_loss_never_falls_below_the_floor_and_meets_it_at_the_label(difference: float, p: float) -> None:
    floor = preference.floor(number(p)).item()
    assert preference.soft_bradley_terry(number(difference), number(p)).item() >= floor - 1e-12
    if 0.001 < p < 0.999:
        best = preference.soft_bradley_terry(number(p).logit(), number(p))
        assert best.item() == pytest.approx(floor, abs=1e-9)


def test_floor_is_the_entropy_of_the_label() -> None:
    assert preference.floor(torch.tensor([0.7, 0.6, 0.5, 0.0, 1.0])).tolist() == pytest.approx(
        [0.610864, 0.673012, 0.693147, 0, 0], abs=1e-6
    )
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="probability"):
            preference.floor(number(wrong))


@pytest.mark.parametrize(
    ("margin", "wins"), [(1.0, 0.731), (155.5 / 173.72, 0.71), (244.91 / 173.72, 0.804), (363.86 / 173.72, 0.890)]
)
def test_a_margin_is_the_log_odds_of_a_win(margin: float, wins: float) -> None:
    # 1 is 400 / ln 10 = 173.72 Elo. Published win rates have three digits.
    assert math.exp(-preference.soft_bradley_terry(number(margin), number(1))) == pytest.approx(wins, abs=6e-4)


def test_huge_differences_stay_finite() -> None:
    losses = preference.soft_bradley_terry(torch.tensor([1e4, -1e4, 1e4]), torch.tensor([1.0, 1.0, 0.5]))
    assert losses.tolist() == pytest.approx([0, 1e4, 5e3])


def test_centering() -> None:
    first, second = number(1.2), number(0.4)
    loss = preference.soft_bradley_terry(first - second, number(1)) + 0.01 * preference.centering(first, second)
    assert loss.item() == pytest.approx(0.396701, abs=1e-6)


@given(scores, scores)
def test_centering_pulls_the_sum_to_zero_and_leaves_the_difference(a: float, b: float) -> None:
    first, second = number(a).requires_grad_(), number(b).requires_grad_()
    loss = preference.centering(first, second)
    assert loss.item() == preference.centering(second, first).item()
    gradients = torch.autograd.grad(loss, (first, second))
    assert [g.item() for g in gradients] == pytest.approx([2 * (a + b)] * 2)


@pytest.mark.parametrize(("harmful", "expected"), [((1.0, 0.0), 0.988752), ((0.0, 1.0), 2.488752)])
def test_cost(harmful: tuple[float, float], expected: float) -> None:
    loss = preference.cost(number(1), number(-0.5), number(1), number(harmful[0]), number(harmful[1]))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@given(scores, scores, probabilities, probabilities, probabilities)
def test_cost_is_mirrored_by_a_swap(a: float, b: float, p: float, h: float, k: float) -> None:
    loss = preference.cost(number(a), number(b), number(p), number(h), number(k))
    mirrored = preference.cost(number(b), number(a), 1 - number(p), number(k), number(h))
    assert loss.item() == pytest.approx(mirrored.item(), abs=1e-9)


def test_the_gradient_of_a_cost_is_predicted_minus_labelled_in_each_term() -> None:
    costs = torch.tensor([1.0, -0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(preference.cost(costs[0], costs[1], number(0.7), number(0.9), number(0.2)), costs)
    # sigma(1.5) - .7 = .117574; sigma(1) - .9 = -.168941; sigma(-.5) - .2 = .177541
    assert gradient.tolist() == pytest.approx([0.117574 - 0.168941, -0.117574 + 0.177541], abs=1e-6)


def test_cost_ties_its_zero_to_harm() -> None:
    # Two equally harmful responses: the pairwise term is flat, the sign terms push both costs up.
    both = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(preference.cost(both[0], both[1], number(0.5), number(1), number(1)))
    assert both.grad is not None
    assert both.grad.tolist() == pytest.approx([-0.5, -0.5])


def test_ensembles() -> None:
    scores_KB = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [2.0, 5.0], [2.0, 5.0]])
    assert preference.uncertainty_weighted(scores_KB, 0.5).tolist() == pytest.approx([1.8, 5])
    assert preference.worst_case(scores_KB).tolist() == [1, 5]


def test_the_order_of_the_members_is_of_no_account_and_each_pulls_its_own_way() -> None:
    scores_KB = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64, requires_grad=True)
    for rule in ("mean", "worst", "uncertainty"):
        combined = preference.combine(scores_KB, rule, coefficient=0.5)
        assert combined.item() == pytest.approx(preference.combine(scores_KB.flip(0), rule, coefficient=0.5).item())
    (gradient,) = torch.autograd.grad(preference.uncertainty_weighted(scores_KB, 0.5).sum(), scores_KB)
    # 1/3 - .5 * 2/3 * (score - 7/3)
    assert gradient.flatten().tolist() == pytest.approx([7 / 9, 4 / 9, -2 / 9])


def test_combine_chooses_the_rule() -> None:
    scores_KB = torch.tensor([[1.0], [2], [3], [2], [2]])
    values = {
        rule: preference.combine(scores_KB, rule, coefficient=0.5).item() for rule in ("mean", "worst", "uncertainty")
    }
    assert values == pytest.approx({"mean": 2.0, "worst": 1.0, "uncertainty": 1.8})
    with pytest.raises(ValueError, match="best"):
        preference.combine(scores_KB, "best", coefficient=0.5)
