"""Rounds: the loop again from the policy before, in a folder of its own, and what a round's guard found taught on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from rlaif import config, execution
from rlaif.commands.estimate.needs import needs
from rlaif.pipeline import Plan
from rlaif.ports.engines import Engines
from rlaif.records import constitution, usage
from rlaif.records.errors import InputError
from rlaif.records.files import file_digest, read_json, read_rows
from rlaif.records.guard import Exploit, Verdict
from rlaif.records.label import Label
from rlaif.records.prompt import Message, Prompt
from rlaif.records.report import Evaluation, RewardSummary
from rlaif.rounds import stages_of
from rlaif.testing.scripts import responses
from tests.pipeline.conftest import write_world

AUDITED = 30  # prompts
GUARD = {
    "every": 2,
    "prompts": AUDITED,
    "feedback": True,
    "critic": "scripted:tests.pipeline.test_rounds:prefers_shorter",
}
ATTACK = {"attacker": "scripted:tests.pipeline.test_rounds:attack", "candidates": 12, "keep": 2, "reply_tokens": 4}
OVERRIDES = [
    "rounds=2",
    f"redteam={json.dumps(ATTACK)}",
    f"policy.guard={json.dumps(GUARD)}",
    "prompts.test_limit=5",
    "policy.learning_rate=0.01",
]


def prefers_shorter(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    a, b = map(len, responses(messages))
    return [0.5, 0.5] if a == b else [0.1, 0.9] if a > b else [0.9, 0.1]


def attack(messages: Sequence[Message], options: None) -> str:
    return f"What of number {len(messages[-1].content) * 1000}?"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With prompts enough for a guard."""
    folder = tmp_path_factory.mktemp("world")
    path = write_world(folder)
    rows = [{"id": f"test-{i}", "prompt": f"test question number {i}?"} for i in range(35)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds") / "run"
    execution.execute(config.load(world, OVERRIDES), folder, Engines())
    return folder


def test_the_stages_of_two_rounds(world: Path) -> None:
    chosen = config.load(world, OVERRIDES)
    stages = {stage.name: stage for stage in stages_of(chosen)}
    loop = ["pairs", "label", "audit", "reward", "policy"]
    assert list(stages) == [
        *("prompts", "sample", "revise", "sft"),
        *loop,
        "round-2/redteam",
        *(f"round-2/{name}" for name in loop),
        *("evaluate", "report"),
    ]
    assert {"policy/model", "reward/model", "prompts/train.jsonl"} <= set(stages["round-2/redteam"].needs)
    assert stages["round-2/pairs"].needs == ("round-2/redteam/train.jsonl", "policy/model")
    assert set(stages["round-2/reward"].needs) == {
        *("round-2/label/labels.jsonl", "label/labels.jsonl", "sft/model", "reward/model", "policy/exploits.jsonl")
    }
    assert set(stages["round-2/policy"].needs) == {
        *("round-2/redteam/train.jsonl", "policy/model", "round-2/reward/model")
    }
    third = {stage.name: stage for stage in stages_of(config.load(world, [*OVERRIDES, "rounds=3"]))}
    assert {"round-2/redteam/train.jsonl", "round-2/policy/model"} <= set(third["round-3/redteam"].needs)
    assert "round-2/policy/model" in stages["evaluate"].needs
    assert [stage.name for stage in stages_of(chosen, "label")][-1] == "label"
    assert [stage.name for stage in stages_of(chosen, "policy")][-1] == "round-2/policy"


def test_a_round_goes_on_from_the_policy_before(run: Path) -> None:
    assert file_digest(run / "round-2/policy/model") != file_digest(run / "policy/model")
    assert (run / "round-2/pairs/samples.jsonl").read_bytes() != (run / "pairs/samples.jsonl").read_bytes()
    evaluation = read_json(run / "evaluate/evaluation.json", Evaluation)
    prompts = read_rows(run / "round-2/redteam/train.jsonl", Prompt, "prompts")
    attacked = [prompt.id for prompt in prompts if "round" in prompt.meta]
    assert len(attacked) == 2 and len(prompts) == 62
    assert [model.name for model in evaluation.models] == ["start", "sft", "best-of-3", "round-1", "policy"]
    assert ("policy", "round-1") in [(c.model, c.against) for c in evaluation.comparisons]


def test_the_next_reward_model_learns_from_all_labels_and_from_exploits(run: Path) -> None:
    exploits = read_rows(run / "policy/exploits.jsonl", Exploit, "exploits")
    assert exploits and all(row.label.p is not None and row.label.p < 0.5 and row.label.votes for row in exploits)
    verdicts = read_rows(run / "policy/audited.jsonl", Verdict, "audited")
    audited = [(row.update, row.label.pair.id) for rows in (exploits, verdicts) for row in rows]
    assert len(set(audited)) == len(audited) == 2 * AUDITED  # two audits of all prompts
    first, second = (read_json(run / f"{name}reward/summary.json", RewardSummary) for name in ("", "round-2/"))
    assert first.against_previous is None and first.exploits is None
    assert second.against_previous is not None and second.exploits is not None
    assert second.heldout_pairs > first.heldout_pairs
    labels = sum(len(read_rows(run / f"{name}label/labels.jsonl", Label, "labels")) for name in ("", "round-2/"))
    train, kept = second.train_pairs, second.heldout_pairs
    assert train + kept == labels + len(exploits) - second.exploits.n


def test_what_is_finished_stays_and_a_later_round_alone_is_done_again(run: Path, world: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "round-2/policy/model")
    (again / "policy/exploits.jsonl").unlink()
    timings = execution.execute(config.load(world, OVERRIDES), again, Engines())
    assert [t.stage for t in timings if t.seconds is not None] == ["policy", "round-2/policy"]
    assert (again / "policy/exploits.jsonl").read_bytes() == (run / "policy/exploits.jsonl").read_bytes()
    assert file_digest(again / "round-2/policy/model") == file_digest(run / "round-2/policy/model")
    more = execution.execute(config.load(world, [*OVERRIDES, "rounds=3"]), again, Engines(), until="policy")
    assert [t.stage.split("/")[0] for t in more if t.seconds is not None] == ["round-3"] * 6


def test_the_auditing_critic_takes_over_the_labels_of_later_rounds(run: Path, world: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(run, again)
    heir = "scripted:tests.pipeline.test_rounds:prefers_shorter"
    chosen = config.load(world, [*OVERRIDES, "policy.guard.takes_over=true"])
    stages = {stage.name: stage for stage in stages_of(chosen)}
    assert "label/labels.jsonl" not in stages["round-2/reward"].needs
    assert {"round-2/label/labels.jsonl", "policy/exploits.jsonl", "policy/audited.jsonl"} <= set(
        stages["round-2/reward"].needs
    )
    timings = execution.execute(chosen, again, Engines(), until="policy")
    redone = [f"round-2/{name}" for name in ("label", "audit", "reward", "policy")]
    assert [t.stage for t in timings if t.seconds is not None] == redone
    critics = [
        {label.critic for label in read_rows(again / f"{name}label/labels.jsonl", Label, "labels")}
        for name in ("", "round-2/")
    ]
    assert critics == [{chosen.critic}, {heir}] and chosen.critic != heir
    exploits = read_rows(again / "policy/exploits.jsonl", Exploit, "exploits")
    verdicts = read_rows(again / "policy/audited.jsonl", Verdict, "audited")
    own = len(read_rows(again / "round-2/label/labels.jsonl", Label, "labels")) + len(verdicts)
    summary = read_json(again / "round-2/reward/summary.json", RewardSummary)
    assert summary.exploits is not None and summary.against_previous is not None
    assert summary.train_pairs + summary.heldout_pairs == own + len(exploits) - summary.exploits.n
    assert 0 < summary.against_previous.n < summary.accuracy.n  # on what was audited in the round before
    assert not any(t.seconds for t in execution.execute(chosen, again, Engines(), until="policy"))


def test_a_critic_that_takes_over_is_asked_for_the_later_rounds(world: Path) -> None:
    def asked(*more: str) -> tuple[dict[str, float], float]:
        chosen = config.load(world, [*OVERRIDES, "rounds=3", *more])
        found = needs(Plan(chosen, constitution.load(chosen.constitution), Path("nowhere")))
        return {ask.model: ask.calls.high for ask in found.asks["label"]}, found.steps["reward"].high

    (before, steps), (after, fewer) = asked(), asked("policy.guard.takes_over=true")
    (alone,), (first, later) = before.values(), after.values()
    assert list(after) == [*before, GUARD["critic"]] and first == pytest.approx(alone / 3)
    assert later == pytest.approx(2 * alone / 3) and fewer < steps


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["policy.guard.feedback=false"], "takes_over is a part of feedback"),
        (["policy.guard.critic=null"], "has nobody to take over"),
        (["critic=scripted:tests.pipeline.test_rounds:prefers_shorter"], "would take over from itself"),
        (["label.escalate=scripted:tests.pipeline.test_rounds:prefers_shorter"], "one critic writes the labels"),
    ],
)
def test_who_takes_over_is_another_critic_and_the_only_one(world: Path, changes: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        config.load(world, [*OVERRIDES, "policy.guard.takes_over=true", *changes])
    assert caught.value.fix


def test_the_estimate_counts_all_rounds(world: Path, run: Path) -> None:
    def wanted(*more: str) -> dict[str, float]:
        chosen = config.load(world, [*OVERRIDES, *more])
        found = needs(Plan(chosen, constitution.load(chosen.constitution), Path("nowhere")))
        return {stage: sum(ask.calls.high for ask in asks) for stage, asks in found.asks.items()} | {
            "reward": found.steps["reward"].high
        }

    one, two = wanted("rounds=1", "redteam=null", "policy.guard.feedback=false"), wanted()
    assert two["label"] == 2 * one["label"] and two["policy"] == 2 * one["policy"]
    assert two["sample"] == one["sample"] and two["reward"] > 2 * one["reward"]
    taken = usage.read(run)
    added = usage.of_all_rounds(taken).stages
    assert set(added) == {name.split("/")[-1] for name in taken.stages}
    asked = [sum(use.asked for use in taken.stages[name].uses) for name in ("label", "round-2/label")]
    assert sum(use.asked for use in added["label"].uses) == sum(asked) and min(asked) > 0


def test_later_rounds_are_asked_for_where_something_needs_them(world: Path) -> None:
    with pytest.raises(InputError, match="redteam attacks before later rounds, and there is one"):
        config.load(world, [*OVERRIDES, "rounds=1", "policy.guard.feedback=false"])
    with pytest.raises(InputError, match="teaches the next round's reward model, and there is one round"):
        config.load(world, [*OVERRIDES, "rounds=1", "redteam=null"])
    with pytest.raises(InputError, match="no audit is due before the last update"):
        config.load(world, [*OVERRIDES, "policy.guard.every=5"])
