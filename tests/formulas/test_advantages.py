from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif.formulas import advantages

REWARDS = torch.tensor([[-0.1, -0.2, 1.0]], dtype=torch.float64)
VALUES = torch.tensor([[0.5, 0.6, 0.7]], dtype=torch.float64)
ALL = torch.ones(1, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("gamma", "lam", "expected"),
    [
        (1.0, 0.95, [0.17575, 0.185, 0.3]),
        (1.0, 1.0, [0.2, 0.2, 0.3]),
        (1.0, 0.0, [0.0, -0.1, 0.3]),
        (0.99, 0.95, [0.158729, 0.17515, 0.3]),
    ],
)
def test_gae(gamma: float, lam: float, expected: list[float]) -> None:
    result = advantages.gae(REWARDS, VALUES, ALL, gamma, lam)
    assert result.advantages_BT.tolist()[0] == pytest.approx(expected, abs=1e-6)
    returns = [a + v for a, v in zip(expected, [0.5, 0.6, 0.7], strict=True)]
    assert result.returns_BT.tolist()[0] == pytest.approx(returns, abs=1e-6)


def test_a_score_one_slot_after_the_end_gives_other_advantages() -> None:
    rewards = torch.tensor([[-0.1, -0.2, 0.0, 1.0]], dtype=torch.float64)
    values = torch.tensor([[0.5, 0.6, 0.7, 0.75]], dtype=torch.float64)
    result = advantages.gae(rewards, values, torch.ones(1, 4, dtype=torch.bool), 1.0, 0.95)
    assert result.advantages_BT.tolist()[0] == pytest.approx([0.164469, 0.173125, 0.2875, 0.25], abs=1e-6)


def test_the_value_after_the_last_kept_token_is_zero_in_every_row() -> None:
    keep = torch.tensor([[True, True, True], [True, False, False]])
    result = advantages.gae(REWARDS.repeat(2, 1), VALUES.repeat(2, 1), keep, 1.0, 0.95)
    assert result.advantages_BT[1].tolist() == pytest.approx([-0.6, 0, 0])
    assert result.returns_BT[1].tolist() == pytest.approx([-0.1, 0, 0])


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_monte_carlo_and_one_step_are_the_two_ends(steps: list[tuple[float, float]], gamma: float, lam: float) -> None:
    rewards = [r for r, _ in steps]
    rewards_BT = torch.tensor([rewards], dtype=torch.float64)
    values_BT = torch.tensor([[v for _, v in steps]], dtype=torch.float64)
    keep = torch.ones(1, len(steps), dtype=torch.bool)
    monte_carlo = advantages.gae(rewards_BT, values_BT, keep, gamma, 1.0).returns_BT.tolist()[0]
    for t in range(len(steps)):
        to_go = sum(gamma**k * reward for k, reward in enumerate(rewards[t:]))
        assert monte_carlo[t] == pytest.approx(to_go, abs=1e-9)
    perfect_BT = torch.tensor([monte_carlo], dtype=torch.float64)
    nothing_to_gain = advantages.gae(rewards_BT, perfect_BT, keep, gamma, lam).advantages_BT
    assert nothing_to_gain.abs().max().item() < 1e-9


def test_leave_one_out() -> None:
    result = advantages.leave_one_out(torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]]))
    assert result.tolist() == [[-3, -1.5, 4.5], [0, 0, 0]]
    with pytest.raises(ValueError, match="at least 2"):
        advantages.leave_one_out(torch.ones(3, 1))


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), st.floats(-10, 10))
def test_leave_one_out_sums_to_zero_and_ignores_a_common_shift(rewards: list[float], shift: float) -> None:
    rewards_BG = torch.tensor([rewards], dtype=torch.float64)
    result = advantages.leave_one_out(rewards_BG)
    assert result.sum().item() == pytest.approx(0, abs=1e-9)
    assert torch.allclose(advantages.leave_one_out(rewards_BG + shift), result, atol=1e-9)


def test_explained_variance() -> None:
    returns = torch.tensor([[1.0, 2.0, 3.0]])
    assert advantages.explained_variance(returns + 5, returns, ALL) == pytest.approx(1)
    assert advantages.explained_variance(torch.full((1, 3), 9.0), returns, ALL) == pytest.approx(0)
    assert advantages.explained_variance(-returns, returns, ALL) == pytest.approx(-3)
    assert advantages.explained_variance(returns, torch.ones(1, 3), ALL) is None
    with pytest.raises(ValueError, match="no kept entries"):
        advantages.explained_variance(returns, returns, ~ALL)
