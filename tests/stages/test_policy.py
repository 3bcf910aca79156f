"""The PPO loop: the canary, resuming in the middle, and prompts without repetition."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlaif import config, execution
from rlaif.engines.rollout.hf import HfRollout
from rlaif.ports import experience, interrupt
from rlaif.ports.engines import Engines
from rlaif.ports.rewards import Reply, Rewards, Scores
from rlaif.records import constitution as constitutions
from rlaif.records import metrics
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import file_digest
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage
from rlaif.stages import policy
from tests.pipeline.conftest import write_world

LINEAGE = Lineage("config", {"parent": "digest"})


class Stale(HfRollout):
    """An engine that takes the first weights and forgets every later sync: what a silent sync failure looks like."""

    synced = 0

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.synced += 1
        if self.synced == 1:
            super().sync(weights)


class StaleEngines(Engines):
    def rollout(self, name: str, model: str, **options: Any) -> Any:
        engine = Stale(model, **options)
        self._rollouts.append(engine)
        return engine


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run finished up to the reward model."""
    folder = tmp_path_factory.mktemp("policy")
    execution.execute(config.load(write_world(folder)), folder / "run", Engines(), until="reward")
    return folder / "run"


def inputs(trained: Path, out: Path) -> policy.Inputs:
    return policy.Inputs(
        prompts=trained / "prompts/train.jsonl",
        heldout=trained / "prompts/train.jsonl",
        model=str(trained / "sft/model"),
        reward=str(trained / "reward/model"),
        cost=None,
        constitution=constitutions.load("hhh"),
        critic="scripted:tests.judges:deaf",
        seed=3,
        out=out,
        lineage=LINEAGE,
    )


def settings(**changes: Any) -> policy.Config:
    base = {"engine": "hf", "updates": 4, "batch_size": 8, "max_tokens": 6, "learning_rate": 1e-2, "warmup_steps": 0}
    return policy.Config(**{**base, "checkpoint_every": 2, **changes})


def dying(config: policy.Config, given: policy.Inputs, step: int) -> None:
    """A run that is killed when it has logged an update."""

    class Killed(Exception):
        pass

    class DyingEngines(Engines):
        def tracker(self, folder: Path, keep_until: int = 0) -> Any:
            tracker = super().tracker(folder, keep_until)
            log = tracker.log

            def dying(at: int, values: Mapping[str, float]) -> None:
                log(at, values)
                if at == step:
                    raise Killed

            tracker.log = dying  # type: ignore[assignment, method-assign]
            return tracker

    with pytest.raises(Killed):
        policy.run(config, DyingEngines(), given)


def checkpoints(folder: Path) -> list[str]:
    """Names of all that stands where a stage's checkpoints are, the oldest first."""
    return sorted(path.name for path in (folder / "checkpoint").iterdir())


def test_every_update_is_logged_with_a_closed_canary(trained: Path, tmp_path: Path) -> None:
    policy.run(settings(), Engines(), inputs(trained, tmp_path))
    rows = metrics.read(tmp_path / "metrics.jsonl")
    assert [row.step for row in rows] == [1, 2, 3, 4]
    assert max(row.values["canary_gap"] for row in rows) < 1e-3
    assert rows[0].values["kl"] == pytest.approx(0.0, abs=1e-4)  # the policy starts as its reference
    assert rows[-1].values["kl"] != pytest.approx(0.0, abs=1e-4)  # and moved


def test_a_stale_engine_stops_the_run(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RunHalted, match=r"sync canary: at update 2 .* nats"):
        policy.run(settings(), StaleEngines(), inputs(trained, tmp_path))
    assert not (tmp_path / "model").exists()
    assert [row.step for row in metrics.read(tmp_path / "metrics.jsonl")] == [1]


def test_resuming_from_a_checkpoint_gives_the_same_weights(trained: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    policy.run(settings(), Engines(), inputs(trained, whole))

    dying(settings(), inputs(trained, torn), step=3)
    assert checkpoints(torn) == ["update-000002"]
    policy.run(settings(), Engines(), inputs(trained, torn))
    assert file_digest(torn / "model") == file_digest(whole / "model")
    assert (torn / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_another_config_does_not_take_the_checkpoint(trained: Path, tmp_path: Path) -> None:
    policy.run(settings(updates=2), Engines(), inputs(trained, tmp_path))
    other = inputs(trained, tmp_path)._replace(lineage=Lineage("another config", {}))
    policy.run(settings(updates=3), Engines(), other)
    assert [row.step for row in metrics.read(tmp_path / "metrics.jsonl")] == [1, 2, 3]


def test_a_pass_asks_every_prompt_once() -> None:
    prompts = [Prompt(id=str(i), messages=[Message(role="user", content=str(i))]) for i in range(7)]
    first = [experience.prompt_at(prompts, i, seed=0).id for i in range(7)]
    second = [experience.prompt_at(prompts, i, seed=0).id for i in range(7, 14)]
    assert sorted(first) == sorted(second) == [str(i) for i in range(7)]
    assert first != second


def short(messages: Any, response: str, meta: Any) -> float:
    return -float(len(response))


def moody(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """Likes the number 10; fails on about every fifth question."""
    if hashlib.sha256(messages[-1].content.encode()).digest()[0] % 5 == 0:
        raise RuntimeError("planted failure")
    return [*[1e-12] * 9, 1.0]


MIXED: list[dict[str, Any]] = [
    {"kind": "model", "weight": 0.5},
    {"kind": "function", "function": "tests.stages.test_policy:short", "weight": 0.1},
    {"kind": "critic", "max_failure_rate": 0.9},
]


def test_mixed_rewards_are_logged_term_by_term_and_failed_samples_are_dropped(trained: Path, tmp_path: Path) -> None:
    given = inputs(trained, tmp_path)._replace(critic="scripted:tests.stages.test_policy:moody")
    policy.run(settings(rewards=MIXED), Engines(), given)
    rows = [row.values for row in metrics.read(tmp_path / "metrics.jsonl")]
    assert {"reward/model", "reward/short", "reward/critic", "dropped"} <= rows[0].keys()
    assert all(row["reward/critic"] == pytest.approx(1) for row in rows)
    whole = [row for row in rows if row["dropped"] == 0]
    assert len(whole) < 4 and 0 < sum(row["dropped"] for row in rows) < 16
    for row in whole:
        expected = 0.5 * row["reward/model"] + 0.1 * row["reward/short"] + row["reward/critic"]
        assert row["score"] == pytest.approx(expected, abs=1e-5)


def test_failed_judgements_past_the_rate_stop_the_run(trained: Path, tmp_path: Path) -> None:
    given = inputs(trained, tmp_path)._replace(critic="scripted:tests.judges:broken")
    with pytest.raises(RunHalted, match="rewards: 8 of 8 failed, more than the allowed 5%"):
        policy.run(settings(rewards=[{"kind": "critic"}]), Engines(), given)


def test_a_sample_without_a_score_takes_its_group_along() -> None:
    assert experience.whole_groups([1.0, 2.0, None, 4.0, 5.0, 6.0], group=2) == [0, 1, 4, 5]
    with pytest.raises(RunHalted, match="no sample"):
        experience.whole_groups([1.0, 2.0, None, 4.0, 5.0, 6.0], group=6)


@pytest.mark.parametrize(
    ("size", "group", "minibatches", "message"),
    [(10, 4, 1, "10 completions does not divide into groups of 4"), (8, 4, 3, "3 minibatches of 2 prompts")],
)
def test_a_batch_that_does_not_divide_is_refused(size: int, group: int, minibatches: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        policy.check_batch(settings(batch_size=size), SimpleNamespace(group_size=group, minibatches=minibatches))


KINDS = {
    "rloo": {"group_size": 2, "minibatches": 2, "epochs": 2},
    "superhf": {"group_size": 4, "minibatches": 2},
    "ppo_lagrangian": {"minibatches": 2, "multiplier_rate": 1.0, "multiplier_gain": 0.5},
}


@pytest.mark.parametrize("algorithm", KINDS)
def test_every_algorithm_trains_and_resumes_to_the_same_bytes(trained: Path, tmp_path: Path, algorithm: str) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    chosen = settings(algorithm=algorithm, settings=KINDS[algorithm])
    cost = str(trained / "reward/model")  # any scalar model will do
    policy.run(chosen, Engines(), inputs(trained, whole)._replace(cost=cost))
    rows = [row.values for row in metrics.read(whole / "metrics.jsonl")]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4) != pytest.approx(rows[-1]["kl"], abs=1e-4)
    assert any("value_" in name for name in rows[0]) == (algorithm == "ppo_lagrangian")
    dying(chosen, inputs(trained, torn)._replace(cost=cost), step=3)
    assert checkpoints(torn) == ["update-000002"]
    policy.run(chosen, Engines(), inputs(trained, torn)._replace(cost=cost))
    assert file_digest(torn / "model") == file_digest(whole / "model")
    assert (torn / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_samples_of_a_group_answer_one_prompt_and_differ(trained: Path, tmp_path: Path) -> None:
    seen = []

    class Watched(Rewards):
        def score(self, replies: Sequence[Reply]) -> Scores:
            seen.append(replies)
            return super().score(replies)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "Rewards", Watched)
        chosen = settings(algorithm="rloo", settings={"group_size": 4}, updates=3)
        policy.run(chosen, Engines(), inputs(trained, tmp_path))
    names = [[reply.prompt.id for reply in update] for update in seen]
    assert all(len(set(update[:4])) == len(set(update[4:])) == 1 for update in names)
    assert len({update[at] for update in names for at in (0, 4)}) == 6  # every group another prompt
    assert all(len({reply.text for reply in update[:4]}) > 1 for update in seen)


def test_shared_values_train_and_resume_to_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    chosen = settings(value_network="shared", value_learning_rate=1e-2)
    policy.run(chosen, Engines(), inputs(trained, whole))
    dying(chosen, inputs(trained, torn), step=3)
    policy.run(chosen, Engines(), inputs(trained, torn))
    assert file_digest(torn / "model") == file_digest(whole / "model")


def test_the_multiplier_and_the_cost_are_logged_and_the_multiplier_moves_with_the_cost(
    trained: Path, tmp_path: Path
) -> None:
    given = inputs(trained, tmp_path)._replace(cost=str(trained / "reward/model"))
    below = settings(algorithm="ppo_lagrangian", settings={"limit": 100.0, "multiplier_rate": 0.1})
    policy.run(below, Engines(), given)
    rows = [row.values for row in metrics.read(tmp_path / "metrics.jsonl")]
    assert rows[0]["multiplier"] == 1.0
    assert all(late["multiplier_base"] < early["multiplier_base"] for early, late in pairwise(rows))
    assert all("reward/cost" not in row and -50 < row["cost"] < 50 for row in rows)


def test_without_a_cost_model_a_constraint_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cost model"):
        policy.run(settings(algorithm="ppo_lagrangian"), Engines(), inputs(trained, tmp_path))


def test_the_engines_word_is_taken_where_it_is_asked_for_and_checked_on_a_part(trained: Path, tmp_path: Path) -> None:
    word = settings(old_logprobs="engine", micro_batch=2)
    policy.run(settings(micro_batch=2), Engines(), inputs(trained, tmp_path / "trainer"))
    policy.run(word, Engines(), inputs(trained, tmp_path / "engine"))
    plain, taken = (metrics.read(tmp_path / name / "metrics.jsonl") for name in ("trainer", "engine"))
    for one, other in zip(plain, taken, strict=True):
        assert other.values["score"] == pytest.approx(one.values["score"], abs=1e-3)
        assert other.values["kl"] == pytest.approx(one.values["kl"], abs=1e-3)
        assert 0 < other.values["canary_gap"] < 1e-3 and other.values["importance"] == 1.0
    with pytest.raises(RunHalted, match="sync canary: at update 2"):
        policy.run(word, StaleEngines(), inputs(trained, tmp_path / "stale"))


def test_curves_survive_an_attempt_under_other_settings(trained: Path, tmp_path: Path) -> None:
    policy.run(settings(), Engines(), inputs(trained, tmp_path))
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    other = inputs(trained, tmp_path)._replace(lineage=Lineage("another config", {}))
    failing = settings(rewards=[{"kind": "function", "function": "tests.stages.test_policy:failing"}])
    with pytest.raises(InputError, match="planted"):
        policy.run(failing, Engines(), other)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    policy.run(settings(), Engines(), inputs(trained, tmp_path))
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def failing(messages: Any, response: str, meta: Any) -> float:
    raise RuntimeError("planted")


def test_ctrl_c_stops_after_the_update_with_its_state_saved(trained: Path, tmp_path: Path) -> None:
    class Pressed(Engines):
        def tracker(self, folder: Path, keep_until: int = 0) -> Any:
            tracker = super().tracker(folder, keep_until)
            log = tracker.log

            def pressing(at: int, values: Mapping[str, float]) -> None:
                log(at, values)
                if at == 3:
                    signal.raise_signal(signal.SIGINT)

            tracker.log = pressing  # type: ignore[assignment, method-assign]
            return tracker

    said: list[str] = []
    with pytest.raises(KeyboardInterrupt), interrupt.draining(said.append):
        policy.run(settings(), Pressed(), inputs(trained, tmp_path))
    assert said and (tmp_path / "checkpoint/update-000003").is_dir() and not (tmp_path / "model").exists()
    policy.run(settings(), Engines(), inputs(trained, tmp_path))
    assert [row.step for row in metrics.read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
