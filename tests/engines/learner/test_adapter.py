"""LoRA on supervised fine-tuning and reward models; tests/engines/learner/test_policy_adapter.py has it on policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from rlaif.engines.learner.adapter import attach, merged, switched_off
from rlaif.engines.learner.network import load_causal
from rlaif.engines.learner.reward import HfReward, HfRewardScorer
from rlaif.engines.learner.sft import HfSft
from rlaif.ports.fitting import Fitting
from rlaif.ports.learner import Optimisation, PairTarget
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message
from rlaif.records.settings import Lora, Training
from tests.engines.learner.material import BT_LOSS, CONVERSATIONS, STEADY, said, tensors
from tests.engines.learner.test_reward import pad_is_eos, plain_scores
from tests.tiny import tiny_model

LORA = STEADY._replace(lora=Lora(rank=4, alpha=8.0), learning_rate=1e-2)
IDS_BT = torch.arange(4, 64).reshape(3, 20)


def trained(model: str, optimisation: Optimisation = LORA, **options: Any) -> HfSft:
    learner = HfSft(model, optimisation=optimisation, **options)
    for _ in range(3):
        learner.step(CONVERSATIONS)
    return learner


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS_BT).logits.log_softmax(-1)
    return found


def test_settings_reach_the_learners() -> None:
    training = Training.model_validate({"lora": {"rank": 3, "targets": ["q_proj"]}})
    assert Optimisation.of(training, 5).lora == Lora(rank=3, alpha=16.0, targets=["q_proj"])
    assert Optimisation.of(Training(), 5).lora is None


def test_a_fresh_adapter_changes_nothing(untied: str) -> None:
    whole, low = HfSft(untied, optimisation=STEADY), HfSft(untied, optimisation=LORA)
    assert torch.equal(logits(whole._network.model), logits(low._network.model))
    assert whole.evaluate(CONVERSATIONS) == low.evaluate(CONVERSATIONS)


def test_training_changes_the_adapter_alone(untied: str) -> None:
    start = tensors(load_causal(untied))
    learner = trained(untied)
    with switched_off(learner._network.model):
        assert torch.equal(logits(learner._network.model), logits(load_causal(untied)))
    assert not torch.allclose(logits(learner._network.model), logits(load_causal(untied)), atol=0.1)
    now = tensors(learner._network.model)
    base = {name.replace(".base_layer.", "."): tensor for name, tensor in now.items() if ".lora_" not in name}
    assert base.keys() == start.keys()
    assert all(torch.equal(base[name], start[name]) for name in start)
    assert all(bool(tensor.any()) for name, tensor in now.items() if ".lora_B." in name)


def test_targets_are_what_is_trained(untied: str) -> None:
    """Of each of 2 layers, q and v: 64 x 64 matrices, so rank 2 adds 2 * 2 * 64 numbers to each."""
    learner = HfSft(untied, optimisation=STEADY._replace(lora=Lora(rank=2, targets=["v_proj", "q_proj"])))
    named = {name: p for name, p in learner._network.model.named_parameters() if p.requires_grad}
    assert {name.split(".")[4] for name in named} == {"q_proj", "v_proj"}
    assert sum(p.numel() for p in named.values()) == 2 * 2 * (2 * 2 * 64)


def test_a_wrong_target_names_the_known_ones(untied: str) -> None:
    with pytest.raises(InputError, match="'query'") as caught:
        HfSft(untied, optimisation=STEADY._replace(lora=Lora(targets=["q_proj", "query"])))
    assert caught.value.field == "lora.targets"
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in str(caught.value.fix)
    with pytest.raises(InputError, match="'lm_head'"):  # the engine gets it whole, and it may be tied to the embedding
        HfSft(untied, optimisation=STEADY._replace(lora=Lora(targets=["lm_head"])))


def test_the_adapter_is_drawn_by_the_seed_and_nothing_else_is(untied: str) -> None:
    state = torch.get_rng_state()
    drawn = [tensors(HfSft(untied, optimisation=LORA, seed=seed)._network.model) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    name = "model.layers.0.mlp.up_proj.lora_A.default.weight"
    assert torch.equal(drawn[0][name], drawn[1][name]) and not torch.equal(drawn[0][name], drawn[2][name])


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_the_merged_folder_and_the_adapter_beside_it_are_the_trained_model(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    start = request.getfixturevalue(kind)
    learner = trained(start)
    learner.save(tmp_path / "model")
    expected = logits(learner._network.model)
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.allclose(logits(alone), expected, atol=1e-4)  # logits of several nats in float32
    on_start = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(start), tmp_path / "model" / "adapter")
    assert torch.allclose(logits(on_start), expected, atol=1e-5)
    assert not torch.allclose(logits(load_causal(start)), expected, atol=0.1)
    config = json.loads((tmp_path / "model" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None and config["target_modules"] == sorted(config["target_modules"])


def test_without_an_adapter_there_is_no_folder_of_one(untied: str, tmp_path: Path) -> None:
    trained(untied, STEADY).save(tmp_path / "model")
    assert not (tmp_path / "model" / "adapter").exists()


def test_merging_leaves_the_training_weights_as_they_are(untied: str) -> None:
    model = trained(untied)._network.model
    before = tensors(model)
    weights = dict(merged(model))
    after = tensors(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    start = tensors(load_causal(untied))
    assert weights.keys() == start.keys()
    moved = {name for name in start if not torch.equal(weights[name], start[name])}
    assert moved == {name for name in start if "_proj" in name}


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # peft says that it saw it
def test_matrices_that_are_stored_transposed_are_merged_as_such() -> None:
    """GPT-2 has `Conv1D`, of shape (in, out), with biases."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=80, n_embd=32, n_layer=2, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    model = GPT2LMHeadModel(config).eval()  # type: ignore[no-untyped-call]
    attach(model, Lora(rank=2), seed=0)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    plain = GPT2LMHeadModel(config).eval()  # type: ignore[no-untyped-call]
    plain.load_state_dict(dict(merged(model)))
    assert torch.allclose(logits(plain), logits(model), atol=1e-5)
    with switched_off(model):
        assert not torch.allclose(logits(plain), logits(model), atol=0.01)


def test_gradient_checkpointing_changes_nothing(untied: str) -> None:
    plain, thrifty = (trained(untied, LORA._replace(gradient_checkpointing=on))._network.model for on in (False, True))
    assert torch.allclose(logits(plain), logits(thrifty), atol=1e-5)


def preference() -> list[PairTarget]:
    """Who says flour is right."""
    prompts = ["How do I bake bread?", "Hi", "What is flour", "Which response follows the principle?"]
    replies = [("Mix flour.", "Mix bread."), ("flour and flour", "A or B"), ("The flour", "The Human")]
    return [
        PairTarget([Message(role="user", content=prompt)], good, bad, p=1.0, weight=1.0)
        for prompt in prompts
        for good, bad in replies
    ]


def test_a_reward_model_learns_a_preference_with_adapter_and_head_alone(untied: str, tmp_path: Path) -> None:
    learner = HfReward(untied, optimisation=LORA, seed=0)
    before, pairs = tensors(learner._model), preference()
    first = learner.step(pairs, BT_LOSS)
    stats = [learner.step(pairs, BT_LOSS) for _ in range(25)]
    assert first["accuracy"] < 0.9 and stats[-1]["accuracy"] == 1.0
    unseen = learner.score([said("What is bread", "Mix flour."), said("What is bread", "Mix bread.")])
    assert unseen[0] > unseen[1]
    changed = {name for name, tensor in tensors(learner._model).items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if ".lora_" in name or name == "score.weight"}

    raw = learner.score(CONVERSATIONS)
    learner.normalise(0.5, 4.0)
    expected = [(score - 0.5) / 4.0 for score in raw]
    assert learner.score(CONVERSATIONS) == pytest.approx(expected, abs=1e-5)
    learner.save(tmp_path / "model")
    assert HfRewardScorer(str(tmp_path / "model")).score(CONVERSATIONS) == pytest.approx(expected, abs=1e-4)
    assert plain_scores(tmp_path / "model", "left") == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("spare", [True, False])
def test_a_tokenizer_that_pads_with_eos_is_given_another_pad(tmp_path: Path, spare: bool) -> None:
    """Also where that adds a row to the embedding, below the adapter."""
    learner = HfReward(pad_is_eos(tmp_path / "model", spare), optimisation=LORA, seed=0)
    reference = HfReward(str(tiny_model(tmp_path / "good")), optimisation=STEADY, seed=0)
    assert learner.score(CONVERSATIONS) == pytest.approx(reference.score(CONVERSATIONS), abs=1e-5)
    learner.step(preference(), BT_LOSS)
    learner.save(tmp_path / "saved")
    assert HfRewardScorer(str(tmp_path / "saved")).score(CONVERSATIONS) == pytest.approx(
        learner.score(CONVERSATIONS), abs=1e-4
    )


def test_random_weights_are_not_to_be_frozen() -> None:
    with pytest.raises(ValueError, match="from_scratch"):
        Fitting.model_validate({"from_scratch": True, "lora": {}})
