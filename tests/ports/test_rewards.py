"""The terms of a reward: what each gives, what they add up to, and what stops a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from pydantic import TypeAdapter, ValidationError

from rlaif.ports.engines import Engines
from rlaif.ports.rewards import Critic, Models, Reply, Rewards
from rlaif.records import constitution as constitutions
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Message, Prompt
from rlaif.records.rewards import RewardTerm, distinct

HERE = "tests.ports.test_rewards"
FOUL: Any = None  # what `foul` returns or raises


def length(messages: list[dict[str, str]], response: str, meta: dict[str, Any]) -> float:
    """One a character; it spoils what it was given, which must stay its own affair."""
    assert messages[-1]["role"] == "user"
    bonus: float = meta.pop("bonus", 0)
    messages.clear()
    return len(response) + bonus


def small(messages: Any, response: str, meta: Any) -> Any:
    return numpy.float32(0.5)


def foul(messages: Any, response: str, meta: Any) -> Any:
    if isinstance(FOUL, BaseException):
        raise FOUL
    return FOUL


def rates(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """7.9 of 10 for what says "good", 1 for the rest; fails on what says "mute"."""
    text = messages[-1].content
    if "mute" in text:
        raise RuntimeError("planted failure")
    found = {7: 0.5, 8: 0.3, 10: 0.2} if "good" in text else {1: 1.0}
    return [found.get(int(option), 1e-12) for option in options]


class Halves:
    """A reward model that gives half a point a word."""

    def score(self, rows: Any) -> list[float]:
        return [len(row.response.split()) / 2 for row in rows]


class Planted(Engines):
    def learner(self, kind: str, **options: Any) -> Any:
        assert (kind, options) == ("reward_scorer", {"model": "its/folder"})
        return Halves()


def reply(text: str, name: str = "q1") -> Reply:
    return Reply(Prompt(id=name, messages=[Message(role="user", content="Well?")], meta={"bonus": 10}), text, len(text))


def rewards(folder: Path, *terms: dict[str, Any]) -> Rewards:
    parsed = TypeAdapter(list[RewardTerm]).validate_python(list(terms))
    critic = Critic(f"scripted:{HERE}:rates", constitutions.load("hhh"), folder / "answers.sqlite")
    return Rewards(parsed, Planted(), Models("its/folder", None), critic)


def test_terms_are_weighted_and_added_up(tmp_path: Path) -> None:
    both = rewards(tmp_path, {"kind": "model", "weight": 2.0}, {"kind": "function", "function": f"{HERE}:length"})
    replies = [reply("one two three"), reply("a")]
    for _ in range(2):  # the second time, the prompts' own bonus is still there
        scores = both.score(replies)
        assert scores.terms == {"model": [1.5, 0.5], "length": [23.0, 11.0]}
        assert scores.totals == [26.0, 12.0]


def test_numbers_of_other_libraries_are_numbers(tmp_path: Path) -> None:
    assert rewards(tmp_path, {"kind": "function", "function": f"{HERE}:small"}).score([reply("a")]).totals == [0.5]


def test_the_critic_scores_by_likelihood_and_a_failure_is_no_number(tmp_path: Path) -> None:
    term = {"kind": "critic", "weight": 3.0, "max_failure_rate": 0.5}
    scores = rewards(tmp_path, {"kind": "model"}, term).score([reply("good"), reply("mute", "q2"), reply("bad")])
    assert scores.terms["critic"] == [pytest.approx(0.533333, abs=1e-6), None, pytest.approx(-1.0)]
    assert scores.totals == [pytest.approx(0.5 + 1.6, abs=1e-5), None, pytest.approx(-2.5)]


def even(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """Every number alike: 5.5 of 10."""
    return [1 / len(options)] * len(options)


def test_a_term_may_name_another_critic_than_the_runs(tmp_path: Path) -> None:
    term = {"kind": "critic", "critic": f"scripted:{HERE}:even"}
    assert rewards(tmp_path, term).score([reply("good")]).totals == [pytest.approx(0.0, abs=1e-9)]


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    critic = rewards(tmp_path, {"kind": "critic", "max_failure_rate": 0.3})
    critic.score([reply("good"), reply("mute"), reply("bad"), reply("fine")])  # 1 of 4
    with pytest.raises(RunHalted, match=r"rewards: 2 of 5 failed, more than the allowed 30%.*planted failure"):
        critic.score([reply("mute too")])


@pytest.mark.parametrize("value", [None, math.nan, math.inf, True, "1.0", [1.0], numpy.float64("nan"), 1j])
def test_a_function_that_returns_no_number_is_named_with_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setattr("tests.ports.test_rewards.FOUL", value)
    with pytest.raises(InputError) as caught:
        rewards(tmp_path, {"kind": "function", "function": f"{HERE}:foul"}).score([reply("a", "train-7")])
    assert f"'{HERE}:foul' returned" in caught.value.problem and "'train-7'" in caught.value.problem


def test_a_function_that_raises_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.ports.test_rewards.FOUL", KeyError("answer"))
    with pytest.raises(InputError) as caught:
        rewards(tmp_path, {"kind": "function", "function": f"{HERE}:foul"}).score([reply("a", "train-7")])
    assert f"'{HERE}:foul' raised KeyError: 'answer'" in caught.value.problem and "'train-7'" in caught.value.problem
    assert str(caught.value.file).endswith("test_rewards.py") and caught.value.line is not None


def test_a_function_that_would_end_the_process_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.ports.test_rewards.FOUL", SystemExit(0))
    with pytest.raises(InputError, match=f"'{HERE}:foul' raised SystemExit"):
        rewards(tmp_path, {"kind": "function", "function": f"{HERE}:foul"}).score([reply("a", "train-7")])


def test_a_function_of_other_arguments_is_not_told_as_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="raised TypeError") as caught:
        rewards(tmp_path, {"kind": "function", "function": f"{HERE}:even"}).score([reply("a", "train-7")])
    assert caught.value.file is None and caught.value.field == "policy.rewards"


def test_a_function_that_is_not_there_is_found_out_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing_here"):
        rewards(tmp_path, {"kind": "function", "function": f"{HERE}:nothing_here"})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([{"kind": "oracle"}], "unknown kind of reward 'oracle'"),
        ([{"kind": "function"}], "Field required"),
        ([{"kind": "model", "max_failure_rate": 0.1}], "Extra inputs"),
        ([{"kind": "model", "weight": math.nan}], "finite"),
        (["model"], "valid dictionary"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: list[Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(list[RewardTerm]).validate_python(terms)


def test_a_term_is_there_once() -> None:
    terms = TypeAdapter(list[RewardTerm]).validate_python([{"kind": "model"}, {"kind": "critic"}, {"kind": "model"}])
    with pytest.raises(ValueError, match="two rewards are called 'model'"):
        distinct(terms)
    with pytest.raises(ValueError, match="no reward"):
        distinct([])


def test_length_costs_nothing_at_first_and_then_up_to_the_whole_weight(tmp_path: Path) -> None:
    term = {"kind": "length", "free": 10, "limit": 20, "weight": 0.5}
    scores = rewards(tmp_path, term).score([reply("a" * n) for n in (1, 10, 15, 20, 300)])
    assert scores.terms["length"] == [0.0, 0.0, -0.5, -1.0, -1.0]
    assert scores.totals == [0.0, 0.0, -0.25, -0.5, -0.5]
    with pytest.raises(ValidationError, match="must be above free"):
        rewards(tmp_path, {**term, "limit": 10})


def test_a_cost_term_needs_a_cost_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cost model"):
        rewards(tmp_path, {"kind": "cost"})


def test_costs_are_scored_beside_the_terms_and_are_no_part_of_the_sum(tmp_path: Path) -> None:
    class Both(Engines):
        def learner(self, kind: str, **options: Any) -> Any:
            return Halves()

    terms = TypeAdapter(list[RewardTerm]).validate_python([{"kind": "cost"}])
    critic = Critic(f"scripted:{HERE}:rates", constitutions.load("hhh"), tmp_path / "answers.sqlite")
    own = Rewards(terms, Both(), Models("reward", "cost"), critic, constrained=True).score([reply("one two three")])
    assert (own.totals, own.costs) == ([-1.5], [1.5])
    plain = TypeAdapter(list[RewardTerm]).validate_python([{"kind": "model"}])
    own = Rewards(plain, Both(), Models("reward", "cost"), critic, constrained=True).score([reply("one two three")])
    assert (own.totals, own.costs) == ([1.5], [1.5])
