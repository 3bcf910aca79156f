"""Every rollout engine against the contract, held to transformers as the trainer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlaif.engines.rollout.hf import HfRollout
from rlaif.ports import registry
from rlaif.ports.chat import Sampling
from rlaif.ports.rollout import RolloutRequest
from rlaif.records.errors import InputError
from rlaif.testing import rollout_contract

CONTEXT = 512
VOCABULARY = 320


class Teacher:
    """Recomputes log-probabilities one sequence at a time: no padding, no cache, full logits."""

    def __init__(self, folder: Path) -> None:
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        self.weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        self.model = model.eval()

    @torch.no_grad()
    def __call__(
        self, weights: Mapping[str, torch.Tensor], prompt: Sequence[int], completion: Sequence[int], temperature: float
    ) -> list[float]:
        self.model.load_state_dict(dict(weights), strict=True)
        logits_TV = self.model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        logprobs_TV = (logits_TV / temperature).log_softmax(-1)
        picked: list[float] = logprobs_TV.gather(1, torch.tensor(completion)[:, None])[:, 0].tolist()
        return picked


def check(name: str, folder: Path) -> None:
    teacher = Teacher(folder)
    engine = registry.load("rollout", name)(str(folder))
    requests = rollout_contract.prompts(VOCABULARY)
    # Before any sync an engine samples from the folder's weights, the tied head included.
    assert rollout_contract.gap(engine, teacher, teacher.weights, requests, 1.0) < 1e-3
    rollout_contract.check(engine, teacher, teacher.weights, context=CONTEXT, vocabulary=VOCABULARY)
    engine.close()


@pytest.mark.parametrize("folder", ["untied_folder", "tied_folder"])
def test_hf(folder: str, request: pytest.FixtureRequest) -> None:
    check("hf", request.getfixturevalue(folder))


@pytest.mark.vllm
@pytest.mark.parametrize("folder", ["untied_folder", "tied_folder"])
def test_vllm(folder: str, request: pytest.FixtureRequest) -> None:
    check("vllm", request.getfixturevalue(folder))


@pytest.mark.vllm
def test_vllm_and_transformers_take_the_same_greedy_path(tied_folder: Path) -> None:
    sampling = Sampling(0.0, 16)
    requests = rollout_contract.prompts(VOCABULARY)
    sampled = []
    for name in ("hf", "vllm"):
        engine = registry.load("rollout", name)(str(tied_folder))
        sampled.append(engine.rollout(requests, sampling))
        engine.close()
    for one, other in zip(*sampled, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)


@pytest.mark.parametrize("name", ["hf", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_finished_rollout_ends_with_its_stop_token(name: str, untied_folder: Path, tmp_path: Path) -> None:
    """With one token in sixteen a stop token, samples finish at different lengths, with one stop token, the last; those
    that the budget or the context cuts are unfinished, also when their neighbours go on."""
    shutil.copytree(untied_folder, tmp_path, dirs_exist_ok=True)
    stops = {3, *range(100, 120)}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": sorted(stops), "temperature": 0.1}))
    engine = registry.load("rollout", name)(str(tmp_path), max_model_len=40)
    lengths = [3, 37] * 48
    requests = [RolloutRequest([9] * length, seed) for seed, length in enumerate(lengths)]
    rollouts = engine.rollout(requests, Sampling(1.0, 24))
    engine.close()
    finished = [rollout for rollout in rollouts if rollout.finished]
    assert 24 < len(finished) < 72
    assert len({len(rollout.token_ids) for rollout in finished}) > 5
    assert all(rollout.token_ids[-1] in stops and not stops & set(rollout.token_ids[:-1]) for rollout in finished)
    for length, rollout in zip(lengths, rollouts, strict=True):
        if not rollout.finished:
            assert len(rollout.token_ids) == min(24, 40 - length)
            assert not stops & set(rollout.token_ids)


@pytest.mark.parametrize("planted", ["head", "shift"])
def test_the_contract_catches_a_broken_engine(
    planted: str, untied_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that keeps its old head at each sync, or whose log-probabilities lack the temperature, fails."""
    engine = HfRollout(str(untied_folder))
    teacher = Teacher(untied_folder)
    if planted == "head":
        load = engine._runtime.load
        old = teacher.weights["lm_head.weight"]
        monkeypatch.setattr(engine._runtime, "load", lambda weights: load({**weights, "lm_head.weight": old}))
    else:
        sample = engine.rollout
        monkeypatch.setattr(
            engine, "rollout", lambda r, s: sample(r, Sampling(min(1.0, s.temperature + 0.1), s.max_tokens))
        )
    with pytest.raises(AssertionError):
        rollout_contract.check(engine, teacher, teacher.weights, context=CONTEXT, vocabulary=VOCABULARY)


def test_a_prompt_without_room_is_an_input_error(untied_folder: Path) -> None:
    engine = HfRollout(str(untied_folder), max_model_len=10)
    with pytest.raises(InputError, match="10 tokens, the model's context is 10"):
        engine.rollout([RolloutRequest([9] * 10, 0)], Sampling(1.0, 4))
