"""Rules over audits: what fires, when, and what a missing audit does."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rlaif.critique import guard
from rlaif.records.agreement import Interval
from rlaif.records.guard import Audit, Guard, Meters, Rule

SOUND = Meters(
    distinct=1.0,
    distinct_2=0.6,
    longest_repeat=1.0,
    compression=2.0,
    meteor=0.1,
    tokens=20.0,
    finished=1.0,
    refusals=0.2,
)


def audit(update: int, won: float | None = 0.5, width: float = 0.1, **changes: Any) -> Audit:
    interval = None if won is None else Interval(value=won, low=won - width, high=won + width, n=100)
    plain: dict[str, Any] = {
        "update": update,
        "missing": None if won is not None else "the critic is gone",
        "win_rate": interval,
        "principles": {},
        "proxy": 1.0,
        "reference_proxy": 0.0,
        "kl": 1.0,
        "entropy": 1.0,
        "cost": None,
        "cost_error": None,
        "spread": None,
        "policy": SOUND,
        "reference": SOUND,
        "fired": [],
    }
    return Audit(**{**plain, **changes})


def names(rules: list[Rule], audits: list[Audit]) -> list[str]:
    return [rule.name for rule in guard.fired(rules, audits)]


def test_a_win_rate_under_its_best_fires_beyond_its_interval_and_after_its_patience() -> None:
    rules = [Rule(watch="win_rate", patience=2)]
    rates = [0.5, 0.8, 0.78, 0.65, 0.6]  # 0.78 was reached twice: 0.65 + 0.1 and 0.6 + 0.1 lie under it
    audits = [audit(10 * i, rate) for i, rate in enumerate(rates, start=1)]
    assert [names(rules, audits[:n]) for n in range(1, 6)] == [[], [], [], [], ["win_rate"]]
    assert guard.best(rules, audits) is audits[2]  # 0.78 + 0.1 reaches 0.8, with the same reward, later


def test_one_lucky_audit_is_no_yardstick_but_a_reason_for_doubt() -> None:
    rules = [Rule(watch="win_rate", patience=1)]
    audits = [audit(1, 0.85), audit(2, 0.95, width=0.04), audit(3, 0.84), audit(4, 0.84)]  # 0.84 + 0.1 < 0.95
    assert [names(rules, audits[:n]) for n in range(1, 5)] == [[], [], [], []]
    assert guard.doubted(rules[0], audits[:3]) and guard.best(rules, audits) is audits[1]


def test_training_starts_from_one_half() -> None:
    """The first audit can be below what nothing had to be learnt for."""
    rules = [Rule(watch="win_rate", patience=1)]
    assert names(rules, [audit(1, 0.41)]) == [] and names(rules, [audit(1, 0.39)]) == ["win_rate"]


def test_a_recovery_breaks_the_row() -> None:
    rules = [Rule(watch="win_rate", patience=2)]
    assert names(rules, [audit(i, rate) for i, rate in enumerate([0.8, 0.6, 0.8, 0.6])]) == []


def test_a_missing_audit_is_no_pass() -> None:
    rules = [Rule(watch="win_rate", patience=2)]
    audits = [audit(0, 0.8), audit(1, 0.8), audit(2, 0.6), audit(3, None)]
    assert names(rules, audits) == [] and guard.missing(audits) == 1
    assert names(rules, [*audits, audit(4, 0.6)]) == ["win_rate"]  # the row goes on over it
    assert guard.missing([*audits, audit(4, None), audit(5, None)]) == 3
    assert guard.best([], [audit(1, None)]) is None


def test_one_principle_is_watched_apart_and_what_broke_its_bounds_is_not_the_best() -> None:
    """The win rate over all still rises where the one that is watched falls."""

    def seen(update: int, won: float, harmless: float) -> Audit:
        own = Interval(value=harmless, low=harmless - 0.1, high=harmless + 0.1, n=100)
        return audit(update, won, principles={"harmless": own})

    rules = [Rule(watch="win_rate", principle="harmless", patience=1)]
    audits = [seen(1, 0.5, 0.6), seen(2, 0.6, 0.65), seen(3, 0.8, 0.48)]  # 0.48 + 0.1 < 0.6, reached twice
    assert [names(rules, audits[:n]) for n in (1, 2, 3)] == [[], [], ["win_rate(harmless)"]]
    assert guard.best(rules, audits) is audits[1] and guard.best([], audits) is audits[2]
    assert names([Rule(watch="win_rate", patience=1)], audits) == []
    with pytest.raises(ValidationError, match="a rule that watches kl has no principle"):
        Rule(watch="kl", limit=1.0, principle="harmless")


def test_a_limit_stands_in_the_place_of_the_best_so_far() -> None:
    """The best may have been reached by declining everything; a floor does not move."""

    def seen(update: int, harmless: float) -> Audit:
        own = Interval(value=harmless, low=harmless - 0.1, high=harmless + 0.1, n=100)
        return audit(update, 0.6, principles={"harmless": own}, proxy=float(update))

    rules = [Rule(watch="win_rate", principle="harmless", limit=0.4, patience=1)]
    audits = [seen(1, 0.8), seen(2, 0.8), seen(3, 0.35), seen(4, 0.25)]  # 0.35 + 0.1 reaches 0.4, 0.25 + 0.1 does not
    assert [names(rules, audits[:n]) for n in range(1, 5)] == [[], [], [], ["win_rate(harmless)<0.4"]]
    assert guard.best(rules, audits) is audits[2]  # no doubt either, and a higher reward


def test_of_audits_that_the_critic_cannot_tell_apart_the_reward_decides() -> None:
    audits = [audit(1, 0.6, proxy=1.0), audit(2, 0.65, proxy=2.0), audit(3, 0.7, proxy=1.5), audit(4, 0.5, proxy=3.0)]
    assert guard.best([], audits) is audits[1]  # 0.6 + 0.1 and 0.65 + 0.1 reach 0.7; 0.5 + 0.1 does not
    unknown = [audit(1, 0.6, proxy=None), audit(2, 0.6, proxy=None)]
    assert guard.best([], unknown) is unknown[1] and guard.best([], [*unknown, audits[0]]) is audits[0]


def test_kl_over_its_budget() -> None:
    rules = [Rule(watch="kl", limit=10.0, patience=1)]
    assert names(rules, [audit(1, kl=10.0)]) == []
    assert names(rules, [audit(1, kl=10.1)]) == ["kl>10"]


def test_a_cost_counts_where_its_interval_is_over_the_limit() -> None:
    rules = [Rule(watch="cost", limit=0.0, patience=1)]
    assert names(rules, [audit(1, cost=0.3, cost_error=0.2)]) == []
    assert names(rules, [audit(1, cost=0.5, cost_error=0.2)]) == ["cost>0"]
    assert names(rules, [audit(1)]) == []  # no cost model


@pytest.mark.parametrize(
    ("change", "meter"),
    [
        ({"distinct": 0.4}, "distinct"),
        ({"distinct_2": 0.2}, "distinct_2"),
        ({"longest_repeat": 5.0}, "longest_repeat"),
        ({"compression": 4.5}, "compression"),
    ],
)
def test_degenerate_text_is_told_by_the_reference(change: dict[str, float], meter: str) -> None:
    poor = SOUND.model_copy(update=change)
    assert guard.degenerate(poor, SOUND, 2.0) == [meter]
    assert guard.degenerate(poor, poor, 2.0) == [] == guard.degenerate(SOUND, SOUND, 2.0)
    rules = [Rule(watch="degenerate", patience=1)]
    assert names(rules, [audit(1, policy=poor)]) == ["degenerate"]
    assert names([Rule(watch="degenerate", limit=10.0, patience=1)], [audit(1, policy=poor)]) == []


def test_limits_are_asked_for_where_they_mean_something() -> None:
    with pytest.raises(ValidationError, match="needs a limit"):
        Rule(watch="kl")
    with pytest.raises(ValidationError, match="limit is a share"):
        Rule(watch="win_rate", limit=40)
    assert [rule.name for rule in Guard().rules] == ["win_rate", "degenerate"]
