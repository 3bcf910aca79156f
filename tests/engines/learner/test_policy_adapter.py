"""LoRA on policies and value models: the reference is the policy with its adapter off."""

from __future__ import annotations

import gc
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlaif.algorithms import rloo, superhf
from rlaif.batches import Rollouts
from rlaif.engines.learner.policy import HfPolicy
from rlaif.engines.learner.value import ValueModel
from rlaif.engines.rollout.hf import HfRollout
from rlaif.ports.chat import Sampling
from rlaif.ports.learner import VALUES, Need, Optimisation
from rlaif.ports.rollout import RolloutRequest
from rlaif.records.errors import InputError
from rlaif.records.settings import Lora
from tests.engines.learner.material import (
    CONVERSATIONS,
    PPO_LOSS,
    STEADY,
    largest_difference,
    rollouts,
    tensors,
    train_batch,
)

LORA = STEADY._replace(lora=Lora(rank=4, alpha=8.0), learning_rate=1e-2)


def policy(
    model: str,
    reward: str | None = None,
    optimisation: Optimisation = LORA,
    needs: Collection[Need] = VALUES,
    **options: Any,
) -> HfPolicy:
    return HfPolicy(
        model,
        value_models={"values": reward} if reward else {},
        optimisation=optimisation,
        value_learning_rate=2 * optimisation.learning_rate,
        temperature=0.7,
        seed=0,
        needs=needs,
        **options,
    )


def all_weights(learner: HfPolicy) -> dict[str, torch.Tensor]:
    found = {name: tensors(network.model) for name, network in learner._networks.items()}
    return {f"{name}.{key}": tensor for name, own in found.items() for key, tensor in own.items()}


def run(learner: HfPolicy, steps: range) -> list[dict[str, float]]:
    return [learner.step(train_batch(learner, seed=step), PPO_LOSS) for step in steps]


def test_a_fresh_adapter_and_the_adapter_off_are_the_start_model_exactly(untied: str, reward: str) -> None:
    whole, low = policy(untied, reward, STEADY), policy(untied, reward)
    batch = rollouts(whole)
    start_BT = whole.logprobs(batch)
    assert torch.equal(low.logprobs(batch), start_BT) and torch.equal(low.reference_logprobs(batch), start_BT)
    assert torch.equal(low.values(batch)["values_BT"], whole.values(batch)["values_BT"])
    stats = run(low, range(3))
    assert stats[0]["ratio_mean"] == pytest.approx(1, abs=1e-5)
    assert torch.equal(low.reference_logprobs(batch), start_BT)
    assert not torch.allclose(low.logprobs(batch), start_BT, atol=0.01)


def test_training_changes_adapters_and_value_head_alone(untied: str, reward: str) -> None:
    learner = policy(untied, reward)
    before = all_weights(learner)
    run(learner, range(3))
    changed = {name for name, tensor in all_weights(learner).items() if not torch.equal(tensor, before[name])}
    heads = {"value.head.weight", "value.head.bias"}
    assert changed == heads | {name for name in before if ".lora_" in name}
    assert any(name.startswith("value.body.") for name in changed)


def tensor_bytes() -> int:
    """Of all tensors that live in this process, each piece of memory once; not of the shapes without memory that other
    libraries leave behind."""
    gc.collect()
    storages = [x.untyped_storage() for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def test_there_is_no_second_copy_in_memory(untied: str) -> None:
    """Rank 4 on q, k, v, o (64 x 64) and gate, up (64 x 128) and down of 2 layers: 4 * (4 * 128 + 3 * 192) numbers."""
    model = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(untied).parameters())
    adapter = 2 * 4 * (4 * 128 + 3 * 192)
    sizes = []
    for optimisation in (STEADY, LORA):
        before = tensor_bytes()
        learner = policy(untied, optimisation=optimisation, needs=rloo.NEEDS)
        sizes.append((tensor_bytes() - before) / 4)
        del learner
    assert sizes == pytest.approx([2 * model, model + adapter], abs=1000)  # and the rotary embedding's frequencies


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_an_engine_gets_merged_weights_and_the_canary_holds(kind: str, request: pytest.FixtureRequest) -> None:
    start = request.getfixturevalue(kind)
    learner = policy(start)
    run(learner, range(3))
    before = all_weights(learner)
    weights = dict(learner.weights())
    assert largest_difference(before, all_weights(learner)) == 0
    assert weights.keys() == dict(policy(start, optimisation=STEADY).weights()).keys()
    assert not any(tensor.requires_grad for tensor in weights.values())
    engine = HfRollout(start)
    assert gap(learner, engine) > 0.01
    engine.sync(learner.weights())
    assert gap(learner, engine) < 1e-4


def gap(learner: HfPolicy, engine: Any) -> float:
    """The largest difference between what the engine says of its fresh samples and what the learner says."""
    prompts = [learner.prompt_ids(row.messages) for row in CONVERSATIONS]
    drawn = engine.rollout([RolloutRequest(ids, seed) for seed, ids in enumerate(prompts)], Sampling(0.7, 12))
    batch = Rollouts.from_lists(
        prompts, [d.token_ids for d in drawn], [d.logprobs for d in drawn], [d.finished for d in drawn], learner.pad_id
    )
    return float((learner.logprobs(batch) - batch.engine_logprobs_BT)[batch.keep_BT].abs().max())


def test_the_saved_policy_is_the_trained_one(tied: str, tmp_path: Path) -> None:
    learner = policy(tied)
    batch = train_batch(learner)
    run(learner, range(2))
    learner.save(tmp_path / "model")
    again = policy(str(tmp_path / "model"), optimisation=STEADY)
    assert torch.allclose(again.logprobs(batch), learner.logprobs(batch), atol=1e-5)
    assert not torch.allclose(again.logprobs(batch), learner.reference_logprobs(batch), atol=0.01)
    assert (tmp_path / "model" / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("shared", [False, True])
def test_a_resumed_learner_ends_with_the_weights_of_an_uninterrupted_one(
    shared: bool, tied: str, tmp_path: Path
) -> None:
    settings = LORA._replace(warmup_steps=2, total_steps=9, micro_batch=4, weight_decay=0.01)
    through, interrupted, resumed = (policy(tied, optimisation=settings, shared_values=shared) for _ in range(3))
    stats = run(through, range(5))
    run(interrupted, range(4))
    interrupted.save_state(tmp_path)
    run(resumed, range(7, 8))  # whatever it did before
    resumed.load_state(tmp_path)
    assert run(resumed, range(4, 5)) == stats[4:]
    assert largest_difference(all_weights(through), all_weights(resumed)) == 0
    held = torch.load(tmp_path / "learner.pt", weights_only=True)
    assert all(".lora_" in name for name in held["policy"]["model"])
    assert {name for name in held["value"]["model"] if ".lora_" not in name} == (
        {"score.weight", "score.bias"} if shared else {"head.weight", "head.bias"}
    )


def test_the_state_of_another_training_is_refused(untied: str, tmp_path: Path) -> None:
    policy(untied).save_state(tmp_path / "low")
    policy(untied, optimisation=STEADY).save_state(tmp_path / "whole")
    for learner, folder in (
        (policy(untied, optimisation=STEADY), "low"),
        (policy(untied), "whole"),
        (policy(untied, optimisation=LORA._replace(lora=Lora(rank=3))), "low"),
    ):
        with pytest.raises(InputError, match="cannot be loaded"):
            learner.load_state(tmp_path / folder)


def test_gradients_flow_where_the_reference_is_computed_within_the_step(untied: str) -> None:
    """SuperHF's KL needs both networks in one step: with and without gradient, the adapter on and off."""
    drifted = {}
    for coefficient in (0.0, 5.0):
        learner = policy(untied, needs=superhf.NEEDS)
        config = superhf.Config(group_size=2, kl_coefficient=coefficient)
        sampled = rollouts(learner)
        scored = sampled.scored(
            logprobs_BT=learner.logprobs(sampled),
            ref_logprobs_BT=learner.reference_logprobs(sampled),
            scores_B=torch.linspace(-1.0, 1.0, len(sampled.keep_BT)),
        )
        batch = superhf.prepare(scored, config, {})
        stats = [learner.step(batch, partial(superhf.loss, config=config)) for _ in range(8)]
        assert stats[0]["reference_kl"] == pytest.approx(0, abs=1e-5)
        assert stats[-1]["cross_entropy"] < stats[0]["cross_entropy"] - 0.3
        drifted[coefficient] = stats[-1]["reference_kl"]
    assert drifted[0.0] > 1.5 * drifted[5.0] > 0


def test_gradient_checkpointing_changes_nothing(untied: str, reward: str) -> None:
    plain, thrifty = (policy(untied, reward, LORA._replace(gradient_checkpointing=on)) for on in (False, True))
    for learner in (plain, thrifty):
        run(learner, range(2))
    assert largest_difference(all_weights(plain), all_weights(thrifty)) < 1e-4  # Adam divides rounding by itself


def test_the_value_model_has_a_body_of_its_own(untied: str) -> None:
    learner = policy(untied)
    value = learner._networks["value"].model
    assert isinstance(value, ValueModel)
    own = {p.data_ptr() for p in value.parameters()}
    assert not own & {p.data_ptr() for p in learner._networks["policy"].model.parameters()}


@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_samples_what_the_learner_says(tied: str) -> None:
    from rlaif.engines.rollout.vllm import VllmRollout

    learner = policy(tied)
    run(learner, range(3))
    engine = VllmRollout(tied)
    try:
        engine.sync(learner.weights())
        assert gap(learner, engine) < 1e-3
    finally:
        engine.close()
