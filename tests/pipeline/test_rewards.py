"""A run whose policy is rewarded by model, critic and a function: it goes through, and what it takes is said before."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif import config, execution, pipeline
from rlaif.commands.estimate import command, page
from rlaif.commands.estimate.needs import needs
from rlaif.ports import registry
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Silent
from rlaif.records import constitution, metrics, usage
from rlaif.records.prompt import Message
from rlaif.testing.scripts import prefers_longer

HERE = "tests.pipeline.test_rewards"
REWARDS = f'[{{"kind":"model"}},{{"kind":"critic","weight":2}},{{"kind":"function","function":"{HERE}:vowels"}}]'


def vowels(messages: Sequence[dict[str, str]], response: str, meta: dict[str, Any]) -> float:
    return sum(letter in "aeiou" for letter in response) / 10


def critic(messages: Sequence[Message], options: tuple[str, ...] | None) -> list[float] | str:
    """Compares as `prefers_longer`; scores everything 5 or 6."""
    if options is not None and len(options) == 10:
        return [0.49 if option in ("5", "6") else 1e-3 for option in options]
    return prefers_longer(messages, options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mixed") / "run"


def test_it_goes_through_and_the_estimate_held(world: Path, folder: Path) -> None:
    overrides = [f"critic=scripted:{HERE}:critic", f"policy.rewards={REWARDS}", "policy.algorithm=rloo"]
    chosen = config.load(world, overrides)
    said = page.data(command.estimate(chosen, folder.parent / "estimated", None, None, Silent()))
    (row,) = (r for r in said["rows"] if r["stage"] == "policy" and r["purpose"] == "rewards")
    execution.execute(chosen, folder, Engines())
    asked = {use.purpose: use for use in usage.read(folder).stages["policy"].uses}
    assert asked["rollouts"].asked == 32
    low, high = row["calls"]
    assert low <= asked["rewards"].asked <= high == 32
    last = metrics.read(folder / "policy/metrics.jsonl")[-1].values
    assert last["reward/critic"] == pytest.approx(0, abs=1e-6)  # 5.5 of 1 to 10
    assert last["score"] == pytest.approx(last["reward/model"] + last["reward/vowels"], abs=1e-5)
    assert last["dropped"] == 0


def test_the_estimate_asks_the_rewards_own_critic(world: Path) -> None:
    own = f'policy.rewards=[{{"kind":"critic","critic":"scripted:{HERE}:critic"}}]'
    chosen = config.load(world, [own])
    asks = needs(pipeline.Plan(chosen, constitution.load(chosen.constitution), Path("nowhere"))).asks
    assert [ask.model for ask in asks["policy"] if ask.purpose == "rewards"] == [f"scripted:{HERE}:critic"]
    assert {ask.model for ask in asks["label"]} == {chosen.critic} != {f"scripted:{HERE}:critic"}


def test_another_critic_trains_the_policy_again_where_it_rewards(world: Path, tmp_path: Path) -> None:
    def shapes(*overrides: str) -> Any:
        chosen = config.load(world, list(overrides))
        plan = pipeline.Plan(chosen, constitution.load(chosen.constitution), Path("nowhere"))
        return next(stage for stage in pipeline.STAGES if stage.name == "policy").shapes(plan)

    other = f"critic=scripted:{HERE}:critic"
    assert shapes() == shapes(other)
    direct = 'policy.rewards=[{"kind":"critic"}]'
    assert shapes(direct) != shapes(direct, other)
    own = f'policy.rewards=[{{"kind":"critic","critic":"scripted:{HERE}:critic"}}]'
    assert shapes(own) == shapes(own, other) == shapes(direct, other)
    for name in ("here", "there"):
        shutil.copytree(registry.model_path("tinyworld/reviser"), tmp_path / name)
    moved = [f'policy.rewards=[{{"kind":"critic","critic":"hf:{tmp_path / name}"}}]' for name in ("here", "there")]
    assert shapes(moved[0]) == shapes(moved[1]) != shapes(own)
    (tmp_path / "there" / "config.json").write_text("{}", encoding="utf-8")
    assert shapes(moved[0]) != shapes(moved[1])
