"""The real loop against a closed form: a language model that answers one prompt with one token.

Rewards (1, 2, 0) for the tokens a, b and c, which the reference takes with probability (.5, .3, .2): the policy that
maximises E[reward] - beta KL is proportional to reference * exp(reward / beta). Sampling, scoring, the algorithm, the
learner's Adam, its schedule and saving all take part; at the optimum every advantage is 0, so that nothing jitters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlaif.engines import tokens
from rlaif.ports.engines import Engines
from rlaif.records import constitution, metrics
from rlaif.records.files import write_rows
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage
from rlaif.stages import policy
from tests.tiny import tiny_model

ASKED = Prompt(id="only", messages=[Message(role="user", content="Which?")])
REFERENCE = {"a": 0.5, "b": 0.3, "c": 0.2}
REWARD = {"a": 1.0, "b": 2.0, "c": 0.0}


def reward(messages: Any, response: str, meta: Any) -> float:
    return REWARD.get(response, 0.0)


def probabilities(folder: Path, names: str = "abc") -> torch.Tensor:
    """Of these tokens as the reply's first one."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits_V = model(torch.tensor([tokens.prompt_ids(tokenizer, ASKED.messages)])).logits[0, -1]
    found: torch.Tensor = logits_V.double().softmax(0)[tokenizer.convert_tokens_to_ids(list(names))]
    return found


def bandit(folder: Path, wanted: dict[str, float]) -> Path:
    """A tiny model whose head gives exactly these probabilities after the prompt, and e^-20 to any other token."""
    tiny_model(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([tokens.prompt_ids(tokenizer, ASKED.messages)])
    with torch.no_grad():
        hidden_D = model.model(ids).last_hidden_state[0, -1]
        logits_V = torch.full((len(model.lm_head.weight),), -20.0)
        logits_V[tokenizer.convert_tokens_to_ids(list(wanted))] = torch.tensor([*wanted.values()]).log()
        model.lm_head.weight.copy_(torch.outer(logits_V, hidden_D / hidden_D.square().sum()))
    model.save_pretrained(folder)
    write_rows(folder / "prompts.jsonl", Lineage("bandit", {}).header("prompts"), [ASKED])
    return folder


def given(start: Path, out: Path) -> policy.Inputs:
    return policy.Inputs(
        prompts=start / "prompts.jsonl",
        heldout=start / "prompts.jsonl",
        model=str(start),
        reward=str(start),  # from whose body the value model starts
        cost=None,
        constitution=constitution.load("hhh"),
        critic="scripted:tests.judges:deaf",
        seed=0,
        out=out,
        lineage=Lineage("bandit", {}),
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bandit(tmp_path_factory.mktemp("bandit") / "model", REFERENCE)


ALGORITHMS: dict[str, dict[str, Any]] = {
    "rloo": {"group_size": 8},
    "ppo": {"whiten_advantages": False, "value_clip_range": 10.0, "value_coefficient": 1.0, "epochs": 1},
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_loop_reaches_the_closed_form(reference: Path, tmp_path: Path, algorithm: str) -> None:
    assert probabilities(reference).tolist() == pytest.approx([*REFERENCE.values()], abs=1e-4)
    config = policy.Config(
        algorithm=algorithm,
        settings={**ALGORITHMS[algorithm], "kl_coefficient": 1.0, "missing_eos_penalty": 0.0, "minibatches": 2},
        rewards=[{"kind": "function", "function": f"{__name__}:reward"}],  # type: ignore[list-item]
        engine="hf",
        updates=32,
        batch_size=128,
        max_tokens=1,
        learning_rate=1e-3,
        value_learning_rate=3e-3,
        warmup_steps=0,
        micro_batch=128,
        checkpoint_every=100,
    )
    policy.run(config, Engines(), given(reference, tmp_path))
    found = probabilities(tmp_path / "model")
    assert found.tolist() == pytest.approx([0.359956, 0.587076, 0.052968], abs=0.02)  # a bound that the issue sets
    assert (found * torch.tensor([*REWARD.values()])).sum().item() == pytest.approx(1.534108, abs=0.02)
    ratio = found / torch.tensor([*REFERENCE.values()])
    assert (found * ratio.log()).sum().item() == pytest.approx(0.205481, abs=0.02)


@pytest.mark.slow
def test_the_loop_reaches_the_best_of_four(reference: Path, tmp_path: Path) -> None:
    """P(b) = 1 - 0.7^4, P(c) = 0.2^4; it takes many samples, because what is imitated is itself drawn at random."""
    config = policy.Config(
        algorithm="best_of_n",
        settings={"group_size": 4, "missing_eos_penalty": 0.0, "minibatches": 4},
        rewards=[{"kind": "function", "function": f"{__name__}:reward"}],  # type: ignore[list-item]
        engine="hf",
        updates=32,
        batch_size=384,
        max_tokens=1,
        learning_rate=2e-3,
        warmup_steps=0,
        micro_batch=128,
        checkpoint_every=100,
    )
    policy.run(config, Engines(), given(reference, tmp_path))
    found = probabilities(tmp_path / "model")
    assert found.tolist() == pytest.approx([0.2385, 0.7599, 0.0016], abs=0.02)  # a bound that the issue sets
    assert (found * torch.tensor([*REWARD.values()])).sum().item() == pytest.approx(1.7583, abs=0.02)


COST = {"a": 1.0, "b": -1.0}


def paid(messages: Any, response: str, meta: Any) -> float:
    return {"a": 1.0, "b": 0.4}.get(response, 0.0)


class Costs:
    """A cost model that knows."""

    def score(self, rows: Any) -> list[float]:
        return [COST.get(row.response, 0.0) for row in rows]


class WithCosts(Engines):
    def learner(self, kind: str, **options: Any) -> Any:
        return Costs() if kind == "reward_scorer" else super().learner(kind, **options)


@pytest.mark.slow
def test_the_loop_reaches_the_constrained_optimum(tmp_path: Path) -> None:
    """Rewards (1, 0.4), costs (1, -1), reference (0.8, 0.2), beta 0.1, E[cost] <= 0: half and half, lambda 0.396820."""
    start = bandit(tmp_path / "start", {"a": 0.8, "b": 0.2})
    config = policy.Config(
        algorithm="ppo_lagrangian",
        settings={
            "kl_coefficient": 0.1,
            "missing_eos_penalty": 0.0,
            "whiten_advantages": False,
            "value_clip_range": 10.0,
            "value_coefficient": 1.0,
            "epochs": 1,
            "minibatches": 2,
            "multiplier": 1.0,
            "multiplier_rate": 0.3,
            "multiplier_gain": 2.0,
            "cost_window": 64,
        },
        rewards=[{"kind": "function", "function": f"{__name__}:paid"}],  # type: ignore[list-item]
        engine="hf",
        updates=80,
        batch_size=128,
        max_tokens=1,
        learning_rate=1e-3,
        value_learning_rate=3e-3,
        warmup_steps=0,
        micro_batch=128,
        checkpoint_every=100,
    )
    policy.run(config, WithCosts(), given(start, tmp_path)._replace(cost=str(start)))
    assert probabilities(tmp_path / "model", "ab").tolist() == pytest.approx([0.5, 0.5], abs=0.02)  # the bound
    last = metrics.read(tmp_path / "metrics.jsonl")[-1].values
    assert last["multiplier_base"] == pytest.approx(0.396820, abs=0.05)  # of a path that noise keeps from settling
