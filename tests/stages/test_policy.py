"""The PPO loop: the canary, resuming in the middle, and prompts without repetition."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from rlaif import config, pipeline
from rlaif.engines.rollout.hf import HfRollout
from rlaif.ports.engines import Engines
from rlaif.records import metrics
from rlaif.records.errors import RunHalted
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
    pipeline.execute(config.load(write_world(folder)), folder / "run", Engines(), until="reward")
    return folder / "run"


def inputs(trained: Path, out: Path) -> policy.Inputs:
    return policy.Inputs(
        prompts=trained / "prompts/train.jsonl",
        model=str(trained / "sft/model"),
        reward=str(trained / "reward/model"),
        seed=3,
        out=out,
        lineage=LINEAGE,
    )


def settings(**changes: Any) -> policy.Config:
    base = {"engine": "hf", "updates": 4, "batch_size": 8, "max_tokens": 6, "learning_rate": 1e-2, "warmup_steps": 0}
    return policy.Config(**{**base, "checkpoint_every": 2, **changes})


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

    class Killed(Exception):
        pass

    class DyingEngines(Engines):
        def tracker(self, folder: Path, keep_until: int = 0) -> Any:
            tracker = super().tracker(folder, keep_until)
            log = tracker.log

            def dying(step: int, values: Mapping[str, float]) -> None:
                log(step, values)
                if step == 3:
                    raise Killed

            tracker.log = dying  # type: ignore[assignment, method-assign]
            return tracker

    with pytest.raises(Killed):
        policy.run(settings(), DyingEngines(), inputs(trained, torn))
    assert json.loads((torn / "checkpoint/loop.json").read_text())["update"] == 2
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
    first = [policy.prompt_at(prompts, i, seed=0).id for i in range(7)]
    second = [policy.prompt_at(prompts, i, seed=0).id for i in range(7, 14)]
    assert sorted(first) == sorted(second) == [str(i) for i in range(7)]
    assert first != second
