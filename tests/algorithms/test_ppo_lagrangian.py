"""PPO under a constraint: numbers worked by hand, and what the multiplier does to the advantage."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlaif.algorithms import ppo, ppo_lagrangian
from rlaif.algorithms.ppo_lagrangian import Config, Observed
from rlaif.batches import Costed, Rollouts

PLAIN: dict[str, Any] = {"whiten_advantages": False, "lam": 1.0, "missing_eos_penalty": 0.0}


def costed(scores: list[float], costs: list[float], values: float = 0.0, cost_values: float = 0.0) -> Costed:
    """Two tokens a row, log pi = -1 and log pi_ref = -1.5 at each: k1 is 0.5 a token."""
    rows = len(scores)
    drawn = Rollouts.from_lists([[1]] * rows, [[5, 2]] * rows, [[-1.0, -1.0]] * rows, [True] * rows, pad_id=0)
    scored = drawn.scored(
        logprobs_BT=torch.full((rows, 2), -1.0),
        ref_logprobs_BT=torch.full((rows, 2), -1.5),
        scores_B=torch.tensor(scores),
    )
    return scored.costed(
        values_BT=torch.full((rows, 2), values),
        costs_B=torch.tensor(costs),
        cost_values_BT=torch.full((rows, 2), cost_values),
    )


def state(config: Config, **changes: float) -> dict[str, float]:
    return {**ppo_lagrangian.start(config), **changes}


def test_advantages_and_returns_by_hand() -> None:
    """beta 0.1: k1 costs 0.05 a token on the reward's side and adds 0.05 on the cost's. With lambda 3 and no values,
    A_reward = (1.9, 1.95), A_cost = (-0.9, -0.95), mixed (1.9 + 2.7) / 4 and (1.95 + 2.85) / 4."""
    config = Config(kl_coefficient=0.1, multiplier=3.0, **PLAIN)
    batch = ppo_lagrangian.prepare(costed([2.0], [-1.0]), config, state(config))
    assert batch.returns_BT[0].tolist() == pytest.approx([1.9, 1.95])
    assert batch.cost_returns_BT[0].tolist() == pytest.approx([-0.9, -0.95])
    assert batch.advantages_BT[0].tolist() == pytest.approx([1.15, 1.2])


@pytest.mark.parametrize("multiplier", [0.01, 1.0, 20.0])
def test_the_pull_to_the_reference_is_the_same_for_every_multiplier(multiplier: float) -> None:
    config = Config(kl_coefficient=0.1, multiplier=multiplier, **PLAIN)
    batch = ppo_lagrangian.prepare(costed([0.0], [0.0]), config, state(config))
    assert batch.advantages_BT[0].tolist() == pytest.approx([-0.1, -0.05])


def test_a_multiplier_near_zero_is_ppo_and_a_large_one_minimises_the_cost() -> None:
    scores, costs = [1.0, 0.0, 0.5], [0.0, 1.0, 2.0]
    config = Config(kl_coefficient=0.0, multiplier=1e-6, multiplier_cap=1e7, lam=1.0)
    batch = costed(scores, costs)
    mixed_BT = ppo_lagrangian.prepare(batch, config, state(config)).advantages_BT
    plain_BT = ppo.prepare(batch, ppo.Config(kl_coefficient=0.0, lam=1.0), {"kl_coefficient": 0.0}).advantages_BT
    torch.testing.assert_close(mixed_BT, plain_BT, atol=1e-4, rtol=1e-4)
    mixed_B = ppo_lagrangian.prepare(batch, config, state(config, multiplier=1e6)).advantages_BT[:, 1]
    assert mixed_B.argsort(descending=True).tolist() == [0, 1, 2]  # by cost alone


def test_the_average_cost_forgets_and_lambda_follows_it() -> None:
    """A window of 64 / ln 2 episodes forgets half at every batch of 64: costs 1, then -2, give averages 1 and
    (0.25 * 1 + 0.5 * -2) / 0.75 = -1. The gain adds 2 * (average - limit) to log lambda, and is not remembered."""
    window = 64 / math.log(2)
    config = Config(multiplier=1.0, multiplier_rate=0.1, multiplier_gain=2.0, cost_window=window, limit=0.5)

    def seen(cost: float) -> Observed:
        return Observed(0.0, None, None, 1.0, cost, 0.0, 0.9)

    first = ppo_lagrangian.after_step(state(config), seen(1.0), 64, config)
    assert first["cost_average"] == pytest.approx(1.0) and first["cost_weight"] == pytest.approx(0.5)
    assert first["multiplier_base"] == pytest.approx(math.exp(0.05))  # 0.1 * 1 * (1 - 0.5)
    assert first["multiplier"] == pytest.approx(math.exp(0.05 + 1.0))
    second = ppo_lagrangian.after_step(first, seen(-2.0), 64, config)
    assert second["cost_average"] == pytest.approx(-1.0)
    base = 0.05 + 0.1 * math.exp(0.05) * -1.5
    assert second["multiplier_base"] == pytest.approx(math.exp(base))
    assert second["multiplier"] == pytest.approx(math.exp(base - 3.0))


def test_lambda_stops_at_its_cap() -> None:
    config = Config(multiplier=5.0, multiplier_cap=5.5, multiplier_rate=1.0)
    after = ppo_lagrangian.after_step(state(config), Observed(0.0, None, None, 1.0, 10.0, 1.0, 1.0), 64, config)
    assert after["multiplier"] == after["multiplier_base"] == 5.5
    with pytest.raises(ValidationError, match="starts above multiplier_cap"):
        Config(multiplier=6.0, multiplier_cap=5.5)


def test_the_loss_is_that_of_ppo_and_both_value_losses() -> None:
    config = Config(kl_coefficient=0.0, value_coefficient=0.5, value_clip_range=10.0, **PLAIN)
    batch = ppo_lagrangian.prepare(costed([2.0], [-1.0]), config, state(config))
    logprobs_BT = batch.logprobs_BT.clone().requires_grad_()
    values_BT = torch.tensor([[1.0, 1.0]], requires_grad=True)
    costs_BT = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = ppo_lagrangian.loss(batch, logprobs_BT, values_BT, costs_BT, config, tokens=2)
    # policy: -(2 + 1) / 2 a token; values 0.5 * 1; costs 0.5 * (1 + 4) / 2
    assert loss.total.item() == pytest.approx(-1.5 + 0.5 * 0.5 + 0.5 * 1.25)
    assert float(loss.stats["cost_value_error"]) == pytest.approx(2.5)
    loss.total.backward()  # type: ignore[no-untyped-call]
    for tensor in (logprobs_BT, values_BT, costs_BT):
        assert tensor.grad is not None and bool(tensor.grad.any())


def test_what_a_batch_says_of_costs() -> None:
    config = Config(**PLAIN)
    batch = ppo_lagrangian.prepare(costed([0.0] * 4, [1.0, -1.0, -3.0, 0.0]), config, state(config))
    observed: Any = ppo_lagrangian.observe(batch)
    assert observed.cost == pytest.approx(-0.75) and observed.costly == pytest.approx(0.25)
    # sigmoid of 1, -1, -3, 0
    assert observed.harm == pytest.approx((0.731059 + 0.268941 + 0.047426 + 0.5) / 4, abs=1e-6)


def test_a_limit_on_harm_constrains_its_probability() -> None:
    """Costs log 3 and -log 3 are harm with 0.75 and 0.25; a value of -log 3 foresees 0.25."""
    config = Config(constrain="harm", limit=0.1, kl_coefficient=0.0, multiplier=1.0, multiplier_gain=2.0, **PLAIN)
    scored = costed([0.0, 0.0], [math.log(3), -math.log(3)], cost_values=-math.log(3))
    batch = ppo_lagrangian.prepare(scored, config, state(config))
    assert batch.cost_returns_BT.tolist() == [pytest.approx([0.75, 0.75]), pytest.approx([0.25, 0.25])]
    assert batch.advantages_BT.flatten().tolist() == pytest.approx([-0.25, -0.25, 0.0, 0.0])
    costs_BT = torch.full((2, 2), math.log(3))  # foresees 0.75: wrong by 0 and by 0.5
    loss = ppo_lagrangian.loss(batch, batch.logprobs_BT, torch.zeros(2, 2), costs_BT, config, tokens=4)
    assert float(loss.stats["cost_value_error"]) == pytest.approx(0.125)
    observed = ppo_lagrangian.observe(batch)
    after = ppo_lagrangian.after_step(state(config), observed, 64, config)
    assert after["cost_average"] == pytest.approx(0.5)  # the mean of 0.75 and 0.25, whatever the mean cost is
    assert after["multiplier"] == pytest.approx(math.exp(0.1 * 0.4 + 2 * 0.4))


def test_pads_do_not_move_the_normaliser_of_a_limit_on_harm() -> None:
    """A value of 0 at a pad is no estimate of one half."""
    drawn = Rollouts.from_lists([[1], [1]], [[5, 2], [2]], [[-1.0, -1.0], [-1.0]], [True, True], pad_id=0)
    filled = torch.zeros(2, 2)
    scored = drawn.scored(logprobs_BT=filled, ref_logprobs_BT=filled, scores_B=torch.zeros(2))
    batch = ppo_lagrangian.prepare(
        scored.costed(values_BT=filled, costs_B=torch.zeros(2), cost_values_BT=filled),
        config := Config(constrain="harm", limit=0.5, **PLAIN),
        state(config),
    )
    assert batch.cost_values_BT.tolist() == [[0.5, 0.5], [0.5, 0.0]]
    assert not bool(batch.advantages_BT[1, 1])


@pytest.mark.parametrize("limit", [0.0, 1.0, -5.2])
def test_a_limit_on_harm_is_a_probability(limit: float) -> None:
    with pytest.raises(ValidationError, match="is no probability between 0 and 1"):
        Config(constrain="harm", limit=limit)
