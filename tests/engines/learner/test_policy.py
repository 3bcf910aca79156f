from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from rlaif.batches import Rollouts, require_finite
from rlaif.engines.learner.policy import HfPolicy
from rlaif.engines.learner.reward import HfRewardScorer
from rlaif.engines.learner.value import ValueModel
from rlaif.ports.chat import Sampling
from rlaif.ports.learner import Optimisation
from rlaif.ports.rollout import RolloutRequest
from rlaif.records.errors import InputError, RunHalted
from tests.engines.learner.material import (
    CONVERSATIONS,
    PPO_LOSS,
    SMALL,
    STEADY,
    largest_difference,
    rollouts,
    spoilt,
    tensors,
    train_batch,
)
from tests.tiny import tiny_model


def policy(
    model: str, value_model: str | None = None, optimisation: Optimisation = STEADY, temperature: float = 0.7
) -> HfPolicy:
    return HfPolicy(
        model,
        value_models={} if value_model is None else {"values": value_model},
        optimisation=optimisation,
        value_learning_rate=2 * optimisation.learning_rate,
        temperature=temperature,
        seed=0,
    )


def all_weights(learner: HfPolicy) -> dict[str, Tensor]:
    policy, value = tensors(learner._policy.model), tensors(learner._networks["value"].model)
    return {**{f"policy.{k}": v for k, v in policy.items()}, **{f"value.{k}": v for k, v in value.items()}}


def row_alone(batch: Rollouts, row: int) -> tuple[list[int], list[int]]:
    """Prompt and completion without padding."""
    prompt, completion = batch.prompt_BP[row], batch.completion_BT[row]
    return prompt[batch.prompt_keep_BP[row]].tolist(), completion[batch.keep_BT[row]].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_transformers_row_by_row(untied: str, temperature: float) -> None:
    learner = policy(untied, temperature=temperature)
    batch = rollouts(learner)
    logprobs_BT = learner.logprobs(batch)
    model = AutoModelForCausalLM.from_pretrained(untied)
    for row in range(len(batch.keep_BT)):
        prompt, completion = row_alone(batch, row)
        with torch.no_grad():
            expected_SV = (model(torch.tensor([prompt + completion])).logits[0] / temperature).log_softmax(-1)
        expected = [float(expected_SV[len(prompt) - 1 + t, token]) for t, token in enumerate(completion)]
        assert logprobs_BT[row, : len(completion)].tolist() == pytest.approx(expected, abs=1e-4)
    assert not bool(logprobs_BT[~batch.keep_BT].any())


def test_a_value_is_read_at_the_token_before(untied: str, reward: str) -> None:
    learner = policy(untied, reward)
    batch = rollouts(learner)
    values_BT = learner.values(batch)["values_BT"]
    value = learner._networks["value"].model
    assert isinstance(value, ValueModel)
    for row in range(len(batch.keep_BT)):
        prompt, completion = row_alone(batch, row)
        for t in range(len(completion)):
            with torch.no_grad():
                hidden_D = value.body(torch.tensor([prompt + completion[:t]])).last_hidden_state[0, -1]
                expected = value.head(hidden_D).item()
            assert float(values_BT[row, t]) == pytest.approx(expected, abs=1e-5)


def test_the_value_model_starts_as_the_reward_model_with_its_scale_and_shift(untied: str, reward: str) -> None:
    """Given a reply and one more token, the value before that token is the score of the reply."""
    learner, scorer = policy(untied, reward), HfRewardScorer(reward)
    spelled = [scorer._reader.read(row) for row in CONVERSATIONS]
    batch = Rollouts.from_lists(
        prompts=[row.prompt for row in spelled],
        completions=[[*row.completion, 5] for row in spelled],
        engine_logprobs=[[0.0] * (len(row.completion) + 1) for row in spelled],
        finished=[True] * len(spelled),
        pad_id=0,
    )
    lengths_B = batch.keep_BT.sum(1)
    values_B = learner.values(batch)["values_BT"][torch.arange(len(spelled)), lengths_B - 1]
    assert values_B.tolist() == pytest.approx(scorer.score(CONVERSATIONS), abs=1e-5)


def test_without_a_reward_model_the_value_model_has_the_policys_body(untied: str) -> None:
    learner = policy(untied)
    value = learner._networks["value"].model
    assert isinstance(value, ValueModel)
    assert largest_difference(tensors(value.body), tensors(learner._policy.model.model)) == 0
    assert 0.05 < value.head.weight.std().item() < 0.25 and value.head.bias.item() == 0  # about 1/8


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batches_change_nothing(untied: str, reward: str, micro_batch: int) -> None:
    whole = policy(untied, reward, SMALL)
    split = policy(untied, reward, SMALL._replace(micro_batch=micro_batch))
    batch = train_batch(whole)
    assert torch.allclose(whole.logprobs(batch), split.logprobs(batch), atol=1e-5)
    assert torch.allclose(whole.values(batch)["values_BT"], split.values(batch)["values_BT"], atol=1e-5)
    stats = [learner.step(batch, PPO_LOSS) for learner in (whole, split)]
    assert stats[0] == pytest.approx(stats[1], rel=1e-4, abs=1e-6)
    assert largest_difference(all_weights(whole), all_weights(split)) < 1e-6


def test_padding_changes_nothing(untied: str, reward: str) -> None:
    """The short rows alone, and beside a prompt of 60 and a completion of 40 tokens in the same micro-batch."""
    learner = policy(untied, reward)
    short = rollouts(learner)
    prompts, completions = zip(*(row_alone(short, row) for row in range(len(short.keep_BT))), strict=True)
    wide = Rollouts.from_lists(
        prompts=[*prompts, [7] * 60],
        completions=[*completions, [8] * 40],
        engine_logprobs=[[0.0] * len(c) for c in [*completions, [8] * 40]],
        finished=[True] * (len(prompts) + 1),
        pad_id=learner.pad_id,
    )
    for read in (learner.logprobs, learner.reference_logprobs, lambda rows: learner.values(rows)["values_BT"]):
        assert torch.allclose(read(wide)[:-1, : short.keep_BT.shape[1]], read(short), atol=1e-4)


def test_the_pad_id_is_never_looked_at(untied: str, reward: str) -> None:
    learner = policy(untied, reward)
    batch = rollouts(learner)
    other = Rollouts(
        prompt_BP=batch.prompt_BP.masked_fill(~batch.prompt_keep_BP, 99),
        prompt_keep_BP=batch.prompt_keep_BP,
        completion_BT=batch.completion_BT.masked_fill(~batch.keep_BT, 98),
        keep_BT=batch.keep_BT,
        engine_logprobs_BT=batch.engine_logprobs_BT,
        finished_B=batch.finished_B,
    )
    assert torch.equal(learner.logprobs(batch), learner.logprobs(other))
    assert torch.equal(learner.values(batch)["values_BT"], learner.values(other)["values_BT"])


def test_the_ratio_is_one_before_the_first_step_and_the_reference_stays(untied: str, reward: str) -> None:
    learner = policy(untied, reward)
    batch = train_batch(learner)
    reference_BT = learner.reference_logprobs(batch)
    assert torch.equal(reference_BT, learner.logprobs(batch))
    first = learner.step(batch, PPO_LOSS)
    assert first["ratio_mean"] == pytest.approx(1, abs=1e-5) == first["ratio_max"]
    second = learner.step(batch, PPO_LOSS)
    assert abs(second["ratio_max"] - 1) > 1e-3
    assert torch.equal(reference_BT, learner.reference_logprobs(batch))
    assert not torch.allclose(reference_BT, learner.logprobs(batch), atol=1e-3)


def test_steps_raise_what_was_better_than_expected(untied: str, reward: str) -> None:
    learner = policy(untied, reward)
    batch = train_batch(learner)
    before_BT = learner.logprobs(batch)
    errors = [learner.step(batch, PPO_LOSS)["value_error"] for _ in range(6)]
    moved_BT = (learner.logprobs(batch) - before_BT)[batch.keep_BT]
    good_N = batch.advantages_BT[batch.keep_BT] > 0
    assert float(moved_BT[good_N].mean()) > 0.05 > -0.05 > float(moved_BT[~good_N].mean())
    assert errors[-1] < errors[0]


def test_each_network_has_its_own_rate_and_gradient(untied: str, reward: str) -> None:
    learner = policy(untied, reward)
    stats = learner.step(train_batch(learner), PPO_LOSS)
    assert (stats["learning_rate"], stats["value_learning_rate"]) == (1e-3, 2e-3)
    assert stats["grad_norm"] > 0 < stats["value_grad_norm"] != stats["grad_norm"]
    assert all(isinstance(value, float) for value in stats.values())
    assert {"policy_loss", "value_loss", "clip_fraction", "approx_kl_k3"} <= stats.keys()


def test_gradient_checkpointing_changes_nothing(untied: str, reward: str) -> None:
    plain = policy(untied, reward)
    thrifty = policy(untied, reward, STEADY._replace(gradient_checkpointing=True))
    batch = train_batch(plain)
    for learner in (plain, thrifty):
        learner.step(batch, PPO_LOSS)
    assert thrifty._networks["value"].model.training and not plain._networks["value"].model.training
    assert largest_difference(all_weights(plain), all_weights(thrifty)) < 1e-6


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_weights_hold_the_output_head_also_when_it_is_tied(kind: str, request: pytest.FixtureRequest) -> None:
    learner = policy(request.getfixturevalue(kind))
    learner.step(train_batch(learner), PPO_LOSS)
    weights = dict(learner.weights())
    assert "lm_head.weight" in weights and "model.embed_tokens.weight" in weights
    assert torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"]) == (kind == "tied")
    assert largest_difference(weights, tensors(learner._policy.model)) == 0
    assert not any(tensor.requires_grad for tensor in weights.values())


def test_the_saved_policy_is_the_trained_one(tied: str, tmp_path: Path) -> None:
    learner = policy(tied)
    batch = train_batch(learner)
    learner.step(batch, PPO_LOSS)
    learner.save(tmp_path / "model")
    assert torch.equal(policy(str(tmp_path / "model")).logprobs(batch), learner.logprobs(batch))


def run(learner: HfPolicy, steps: range) -> list[dict[str, float]]:
    return [learner.step(train_batch(learner, seed=step), PPO_LOSS) for step in steps]


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_a_resumed_learner_ends_with_the_weights_of_an_uninterrupted_one(
    kind: str, reward: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(kind)
    settings = STEADY._replace(warmup_steps=2, total_steps=9, micro_batch=4, weight_decay=0.01)
    through, interrupted, resumed = (policy(model, reward, settings) for _ in range(3))
    stats = run(through, range(5))
    run(interrupted, range(3))
    interrupted.save_state(tmp_path / "state")
    run(interrupted, range(3, 4))
    interrupted.save_state(tmp_path / "state")  # over what stands there
    run(resumed, range(7, 8))  # whatever it did before
    resumed.load_state(tmp_path / "state")
    assert run(resumed, range(4, 5)) == stats[4:]
    assert largest_difference(all_weights(through), all_weights(resumed)) == 0
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["learner.pt"]


def test_a_torn_or_foreign_state_is_named(untied: str, tmp_path: Path) -> None:
    learner = policy(untied)
    with pytest.raises(InputError, match=r"learner\.pt"):
        learner.load_state(tmp_path)
    learner.save_state(tmp_path)
    whole = (tmp_path / "learner.pt").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"cos\nsystem\n(S'true'\ntR."):
        (tmp_path / "learner.pt").write_bytes(content)
        with pytest.raises(InputError, match="cannot be loaded"):
            learner.load_state(tmp_path)
    other = policy(str(tiny_model(tmp_path / "other", vocab=310)))
    (tmp_path / "learner.pt").write_bytes(whole)
    with pytest.raises(InputError, match="cannot be loaded"):
        other.load_state(tmp_path)


@pytest.mark.parametrize("gradient_only", [True, False])
def test_nan_halts_and_leaves_the_weights(untied: str, reward: str, gradient_only: bool) -> None:
    learner = policy(untied, reward)
    batch, before = train_batch(learner), all_weights(learner)
    with pytest.raises(RunHalted, match="weights are unchanged"):
        learner.step(batch, spoilt(PPO_LOSS, gradient_only=gradient_only))
    assert largest_difference(before, all_weights(learner)) == 0


def test_a_broken_policy_is_found_out_before_anything_is_learnt(untied: str, reward: str) -> None:
    learner = policy(untied, reward)
    batch, value_before = train_batch(learner), tensors(learner._networks["value"].model)
    with torch.no_grad():
        learner._policy.model.lm_head.weight[5] = float("nan")  # type: ignore[union-attr, operator]
    with pytest.raises(RunHalted, match="log-probability"):
        learner.step(batch, PPO_LOSS)
    with pytest.raises(RunHalted):
        require_finite("log-probability", learner.logprobs(batch), batch.keep_BT)
    assert largest_difference(value_before, tensors(learner._networks["value"].model)) == 0


def test_a_reward_model_with_other_tokens_cannot_start_a_value_model(untied: str, reward: str, tmp_path: Path) -> None:
    foreign = str(tiny_model(tmp_path / "foreign", vocab=300, seed=5))
    learner, own = policy(untied, foreign), policy(untied)
    assert learner.notes == [f"{foreign} has other tokens: its value model starts from the policy's body"]
    assert not own.notes and not policy(untied, reward).notes
    assert largest_difference(all_weights(learner), all_weights(own)) == 0


@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_samples_from_the_saved_folder_what_the_learner_says(tied: str, tmp_path: Path) -> None:
    from rlaif.engines.rollout.vllm import VllmRollout

    learner = policy(tied)
    for step in range(3):
        learner.step(train_batch(learner, seed=step), PPO_LOSS)
    learner.save(tmp_path / "model")
    engine = VllmRollout(str(tmp_path / "model"))
    try:
        engine.sync(learner.weights())
        prompts = [learner.prompt_ids(row.messages) for row in CONVERSATIONS]
        drawn = engine.rollout([RolloutRequest(ids, seed) for seed, ids in enumerate(prompts)], Sampling(0.7, 12))
    finally:
        engine.close()
    batch = Rollouts.from_lists(
        prompts, [d.token_ids for d in drawn], [d.logprobs for d in drawn], [d.finished for d in drawn], learner.pad_id
    )
    assert float((learner.logprobs(batch) - batch.engine_logprobs_BT)[batch.keep_BT].abs().max()) < 1e-3
