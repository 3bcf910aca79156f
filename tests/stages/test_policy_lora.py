"""The PPO loop with LoRA, and with a reward model that spells text in other tokens than the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from rlaif.engines.learner.reward import HfReward, HfRewardScorer
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation, Optimisation
from rlaif.ports.reporter import Silent
from rlaif.records import constitution as constitutions
from rlaif.records import metrics
from rlaif.records.files import file_digest, write_rows
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage, Training
from rlaif.stages import policy
from tests.tiny import tiny_model

LINEAGE = Lineage("config", {})


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def inputs(folder: Path, model: str, reward: str, out: str) -> policy.Inputs:
    prompts = folder / "prompts.jsonl"
    rows = [Prompt(id=str(i), messages=[Message(role="user", content=f"question {i}?")]) for i in range(12)]
    write_rows(prompts, LINEAGE.header("prompts"), rows)
    return policy.Inputs(
        prompts=prompts,
        heldout=prompts,
        model=model,
        reward=reward,
        cost=None,
        constitution=constitutions.load("hhh"),
        critic="scripted:tests.judges:deaf",
        seed=3,
        out=folder / out,
        lineage=LINEAGE,
    )


def reward_model(backbone: str, folder: Path) -> str:
    """An untrained one, with scores of about 1."""
    learner = HfReward(backbone, optimisation=Optimisation.of(Training(), 0), seed=0)
    learner.save(folder)
    return str(folder)


def settings(**changes: Any) -> policy.Config:
    base = {"engine": "hf", "updates": 4, "batch_size": 8, "max_tokens": 6, "learning_rate": 1e-2, "warmup_steps": 0}
    return policy.Config.model_validate({**base, "checkpoint_every": 2, "lora": {"rank": 4}, **changes})


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("start") / "policy", seed=1))


def test_a_run_holds_the_canary_resumes_and_saves_both(start: str, tmp_path: Path) -> None:
    reward = reward_model(start, tmp_path / "reward")
    policy.run(settings(), Engines(), inputs(tmp_path, start, reward, "whole"))
    rows = metrics.read(tmp_path / "whole/metrics.jsonl")
    assert max(row.values["canary_gap"] for row in rows) < 1e-3
    assert rows[0].values["kl"] == pytest.approx(0.0, abs=1e-4) != rows[-1].values["kl"]

    class Killed(Exception): ...

    class Dying(Engines):
        def tracker(self, folder: Path, keep_until: int = 0) -> Any:
            tracker = super().tracker(folder, keep_until)
            log = tracker.log

            def dying(at: int, values: Any) -> None:
                log(at, values)
                if at == 3:
                    raise Killed

            tracker.log = dying  # type: ignore[assignment, method-assign]
            return tracker

    torn = inputs(tmp_path, start, reward, "torn")
    with pytest.raises(Killed):
        policy.run(settings(), Dying(), torn)
    assert [p.name for p in (tmp_path / "torn/checkpoint").iterdir()] == ["update-000002"]
    policy.run(settings(), Engines(), torn)
    assert file_digest(tmp_path / "torn/model") == file_digest(tmp_path / "whole/model")

    with safe_open(tmp_path / "whole/model/model.safetensors", "pt") as merged:
        assert not any("lora" in name for name in merged.keys())  # noqa: SIM118  # it is no mapping
    AutoModelForCausalLM.from_pretrained(tmp_path / "whole/model")
    assert (tmp_path / "whole/model/adapter/adapter_config.json").is_file()
    small = max((tmp_path / "whole/checkpoint").glob("*/learner.pt"))
    weights = tmp_path / "whole/model/model.safetensors"
    assert small.stat().st_size < weights.stat().st_size  # of the adapters of two networks and their moments


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_a_reward_model_may_spell_text_in_other_tokens(start: str, tmp_path: Path, lora: Any) -> None:
    foreign = reward_model(str(tiny_model(tmp_path / "foreign", vocab=300, seed=2)), tmp_path / "reward")
    heard = Heard()
    given = inputs(tmp_path, start, foreign, "out")
    policy.run(settings(updates=2, lora=lora), Engines(heard), given)
    assert [x for x in heard.lines if "other tokens" in x] == [
        f"policy: {foreign} has other tokens: its value model starts from the policy's body"
    ]
    rows = metrics.read(tmp_path / "out/metrics.jsonl")
    assert len(rows) == 2 and rows[0].values["score_std"] > 0
    one = Conversation([Message(role="user", content="question 1?")], "Mix flour.")
    assert abs(HfRewardScorer(foreign).score([one])[0]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["hf", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_the_canary_holds_on_the_shipped_policy(engine: str, tmp_path: Path) -> None:
    reward = reward_model("tinyworld/policy", tmp_path / "reward")
    config = settings(engine=engine, updates=2, batch_size=16, max_tokens=12)
    policy.run(config, Engines(), inputs(tmp_path, "tinyworld/policy", reward, "out"))
    rows = metrics.read(tmp_path / "out/metrics.jsonl")
    assert max(row.values["canary_gap"] for row in rows) < 1e-3
    assert abs(rows[-1].values["kl"]) > 0.01  # a policy that has moved
