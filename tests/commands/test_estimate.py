"""`rlaif estimate` before a run: counts that can be worked out by hand, money, and faults. Nothing is loaded.

What runs really took stands against it in tests/pipeline/test_usage.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.commands.estimate.disk import float32_size
from tests.commandline import rlaif

CONSTITUTION = """
name: three
version: 1.0.0
summary: Three principles for counting.
axes:
  good: {kind: reward}
principles:
  - {id: one, axis: good, prefer: Choose the first., critique: What is bad?, revise: Make it good.}
  - {id: two, axis: good, prefer: Choose the second.}
  - {id: three, axis: good, prefer: Choose the third.}
"""
RUN = """
name: counted
constitution: ./three.yaml
model: owner/policy
critic: scripted:rlaif.testing.scripts:prefers_longer
engine: hf
prompts: {train: train.jsonl, test: test.jsonl}
sample: {prompts: 4, samples_per_prompt: 2, max_tokens: 100}
revise: {rounds: 2, max_tokens: 50}
sft: {batch_size: 4, epochs: 3}
pairs: {prompts: 10, samples_per_prompt: 2, max_tokens: 8}
policy: {updates: 5, batch_size: 7, max_tokens: 30}
evaluate: {max_tokens: 20}
"""
Rows = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "three.yaml").write_text(CONSTITUTION)
    (tmp_path / "run.yaml").write_text(RUN)
    for name, count in (("train", 12), ("test", 5)):
        rows = [{"id": f"{name}-{i}", "prompt": f"{name} question {i}"} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def estimate(folder: Path, *more: str) -> dict[str, Any]:
    done = rlaif("estimate", "run.yaml", "--json", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def rows(data: dict[str, Any]) -> Rows:
    return {(row["stage"], row["purpose"]): row for row in data["rows"]}


def test_every_call_is_counted(world: Path) -> None:
    found = rows(estimate(world))
    assert {key: row["calls"] for key, row in found.items()} == {
        ("sample", "samples"): [8, 8],  # 4 prompts, 2 replies each
        ("revise", "critique 1"): [8, 8],
        ("revise", "revision 1"): [8, 8],
        ("revise", "critique 2"): [0, 8],  # none where the first round is cut off
        ("revise", "revision 2"): [0, 8],
        ("pairs", "pairs"): [20, 20],  # 10 prompts, 2 replies each
        ("label", "pairs"): [60, 60],  # 10 pairs, 3 principles, 2 orders
        ("policy", "rollouts"): [35, 35],  # 5 updates of 7
        ("evaluate", "replies of start"): [5, 5],
        ("evaluate", "replies of sft"): [5, 5],
        ("evaluate", "replies of policy"): [5, 5],
        ("evaluate", "policy against sft"): [30, 30],  # 5 prompts, 3 principles, 2 orders
        ("evaluate", "policy against start"): [0, 30],  # none where all replies are the SFT model's
        ("evaluate", "sft against start"): [0, 30],
    }
    assert found["sample", "samples"]["completion_tokens"] == [8 * 16, 8 * 100]
    assert found["pairs", "pairs"]["completion_tokens"] == [20 * 8, 20 * 8]  # a short reply is no longer than the limit
    assert found["label", "pairs"]["completion_tokens"] == [60, 60]
    low, high = found["label", "pairs"]["prompt_tokens"]
    assert low == high  # the script counts words, which are the same in all prompts, and replies of 8 tokens
    # Two replies stand in each prompt: of 8 tokens there, of 1 here.
    bare = rows(estimate(world, "--set", "pairs.max_tokens=1"))["label", "pairs"]["prompt_tokens"]
    assert low - bare[0] == 60 * 2 * 7


def test_best_of_n_has_its_samples_and_a_comparison(world: Path) -> None:
    found = rows(estimate(world, "--set", "evaluate.best_of=4"))
    assert found["evaluate", "replies of best-of-4"]["calls"] == [20, 20]  # 4 of 5 prompts
    assert found["evaluate", "policy against best-of-4"]["calls"] == [0, 30]


def test_steps_of_optimisers(world: Path) -> None:
    steps = {s["stage"]: s["steps"] for s in estimate(world)["stages"]}
    assert steps["sft"] == [6, 6]  # 8 replies, 1 held out; 3 epochs of 2 batches
    assert steps["policy"] == [5, 5]


@pytest.mark.parametrize(
    ("override", "calls"),
    [
        ("label.mode=votes", [300, 300]),  # 5 votes a question
        ("label.mode=cot", [120, 120]),  # a rationale and an answer
        ("label.rationales=3", [60, 60]),
        ("pairs.samples_per_prompt=3", [180, 180]),  # three pairs a prompt
        ("label.principles=one", [20, 20]),
        ("label.canaries=1", [120, 120]),
        ('label.more_critics=["scripted:rlaif.testing.scripts:even"]', [60, 60]),
    ],
)
def test_how_the_critic_is_asked(world: Path, override: str, calls: list[int]) -> None:
    assert rows(estimate(world, "--set", override))["label", "pairs"]["calls"] == calls


def test_several_critics_have_a_row_each(world: Path) -> None:
    data = estimate(world, "--set", 'label.more_critics=["scripted:rlaif.testing.scripts:even"]')
    judged = [row for row in data["rows"] if row["stage"] == "label"]
    assert [(row["model"].rpartition(":")[2], row["calls"]) for row in judged] == [
        ("prefers_longer", [60, 60]),
        ("even", [60, 60]),
    ]


def test_money_of_paid_critics_alone(world: Path) -> None:
    data = estimate(world, "--set", "label.escalate=openai:strong", "--price", "2/0")
    strong = rows(data)["label", "escalated pairs"]
    assert strong["calls"] == [0, 300]  # none or all; an endpoint without log-probabilities takes 5 votes a question
    assert strong["dollars"] == [0, pytest.approx(strong["prompt_tokens"][1] * 2e-6, abs=1e-6)]
    assert {row["dollars"] is None for row in data["rows"] if row is not strong} == {True}
    assert data["total"]["dollars"] == strong["dollars"]
    text = rlaif("estimate", "run.yaml", "--set", "critic=openai:critic", cwd=world).stdout
    assert "no price: give --price" in text and "a token is taken for 3 to 5 characters" in text


def test_the_run_file_s_price_counts(world: Path) -> None:
    more = ("--set", "critic=openai:critic", "--set", "label.mode=votes")
    flag = estimate(world, *more, "--price", "1/1")["total"]["dollars"]
    assert flag[1] > flag[0] > 0
    assert estimate(world, *more, "--set", "price=1/1")["total"]["dollars"] == flag


def test_what_is_unknown_is_said(world: Path) -> None:
    data = estimate(world)
    assert set(data["total"]["no_disk"]) == {"sft", "reward", "policy"}  # a model that is not here has no size
    assert "label" in data["total"]["no_seconds"]
    assert any("--measure" in said for said in data["assumptions"])
    assert data["total"]["dollars"] is None and not data["total"]["unpriced"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--price", "cheap"), ("--price", "cheap", "0.15/0.60")),
        (("--price", "1"), ("--price",)),
        (("--set", "prompts.train=nowhere.jsonl"), ("nowhere.jsonl", "no such file")),
        (("--set", "prompts.test=train.jsonl"), ("held-out prompt", "remove it")),
        (("--set", "polcy.updates=3"), ("polcy",)),
        (("--set", "policy.settings.clip=1"), ("clip",)),
        (("--set", "critic=vlm:x"), ("vlm",)),
        (("--set", "constitution=hhhh"), ("hhhh",)),
    ],
)
def test_faults_come_before_anything(world: Path, more: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = rlaif("estimate", "run.yaml", *more, cwd=world)
    assert done.returncode == 2 and done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in (*words, "Fix:"):
        assert word in done.stderr
    assert not (world / "runs").exists()
    if more[0] == "--set":
        assert rlaif("run", "run.yaml", *more, cwd=world).stderr.endswith(done.stderr)


def test_two_checkpoints_take_twice_the_room_of_one_and_more_take_no_more(world: Path) -> None:
    def room(every: int) -> float:
        data = estimate(world, "--set", "model=tinyworld/policy", "--set", f"policy.checkpoint_every={every}")
        found: float = next(stage["disk"][1] for stage in data["stages"] if stage["stage"] == "policy")
        return found

    weights = float32_size("tinyworld/policy")
    assert weights is not None
    assert room(3) - room(5) == 6 * weights  # policy and value model, each with two moments
    assert room(1) == room(3)
