from __future__ import annotations

import math

import pytest

from rlaif.formulas import lagrange


def test_log_space_steps() -> None:
    multiplier, seen = 1.0, []
    for _ in range(3):
        multiplier = lagrange.update(multiplier, cost=0.5, limit=0.0, rate=0.1, cap=20)
        seen.append(multiplier)
    assert seen == pytest.approx([1.051271, 1.108008, 1.171124], abs=1e-6)


def test_direction_limit_and_cap() -> None:
    assert lagrange.update(1.0, cost=-1.0, limit=-0.5, rate=0.1, cap=5) == pytest.approx(math.exp(-0.05))
    assert lagrange.update(1.0, cost=0.5, limit=0.5, rate=0.1, cap=5) == 1
    assert lagrange.update(4.9, cost=0.5, limit=0.0, rate=0.1, cap=5) == 5
    assert lagrange.update(5.0, cost=1e9, limit=0.0, rate=1.0, cap=5) == 5  # no overflow on the way
    assert lagrange.update(5.0, cost=-0.5, limit=0.0, rate=0.1, cap=5) < 5  # the cap lets go


def test_without_a_cap_it_grows_as_far_as_floats_go() -> None:
    assert lagrange.update(multiplier=10.0, cost=5.0, limit=1.0, rate=0.1) == pytest.approx(10 * math.exp(4))
    with pytest.raises(OverflowError):
        lagrange.update(multiplier=10.0, cost=1e9, limit=0.0, rate=1.0)


@pytest.mark.parametrize(("multiplier", "cost"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_refuses_what_cannot_be_updated(multiplier: float, cost: float) -> None:
    with pytest.raises(ValueError, match="multiplier"):
        lagrange.update(multiplier, cost, limit=0.0, rate=0.1, cap=5)


@pytest.mark.parametrize(
    ("start", "limit", "split_kl", "multiplier", "probability"),
    [
        ((0.5, 0.5), 0.0, False, 0.3, 0.5),
        ((0.8, 0.2), 0.0, False, 0.369315, 0.5),
        ((0.8, 0.2), 0.0, True, 0.396820, 0.5),
        ((0.5, 0.5), -0.5, False, 0.354931, 0.25),
    ],
)
def test_constrained_bandit_settles_at_the_known_multiplier(
    start: tuple[float, float], limit: float, split_kl: bool, multiplier: float, probability: float
) -> None:
    """Two actions, rewards (1, .4), costs (1, -1), KL weight .1, against the exact best response to each multiplier."""
    value = 1.0
    for _ in range(200):
        scale = 0.1 * (1 + value if split_kl else 1)
        weights = [
            p * math.exp((reward - value * cost) / scale)
            for p, reward, cost in zip(start, (1.0, 0.4), (1.0, -1.0), strict=True)
        ]
        first = weights[0] / sum(weights)
        value = lagrange.update(value, cost=2 * first - 1, limit=limit, rate=0.3, cap=10)
    assert value == pytest.approx(multiplier, abs=1e-5)
    assert first == pytest.approx(probability, abs=1e-5)
