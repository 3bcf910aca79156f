"""What the policy learner computes for algorithms that need more than log-probabilities, or less than a value model."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlaif.algorithms import rloo, superhf
from rlaif.batches import AdvantageBatch, Scored
from rlaif.engines.learner.policy import HfPolicy
from rlaif.ports.learner import VALUES, Need, Optimisation
from rlaif.records.errors import InputError
from tests.engines.learner.material import STEADY, largest_difference, rollouts, tensors

RLOO = rloo.Config(group_size=2)
RLOO_LOSS = partial(rloo.loss, config=RLOO)


def policy(model: str, needs: Collection[Need], optimisation: Optimisation = STEADY) -> HfPolicy:
    return HfPolicy(
        model,
        value_models={},
        optimisation=optimisation,
        value_learning_rate=1e-3,
        temperature=0.7,
        seed=0,
        needs=needs,
    )


def scored(learner: HfPolicy) -> Scored:
    sampled = rollouts(learner)
    return sampled.scored(
        logprobs_BT=learner.logprobs(sampled),
        ref_logprobs_BT=learner.reference_logprobs(sampled),
        scores_B=torch.linspace(-1.0, 1.0, len(sampled.keep_BT)),
    )


def rloo_batch(learner: HfPolicy) -> AdvantageBatch:
    return rloo.prepare(scored(learner), RLOO, {})


def test_without_values_no_value_model_is_there(untied: str, tmp_path: Path) -> None:
    learner = policy(untied, rloo.NEEDS)
    batch = rloo_batch(learner)
    stats = learner.step(batch, RLOO_LOSS)
    assert stats["ratio_mean"] == pytest.approx(1, abs=1e-5)
    assert not any(name.startswith("value") for name in stats)
    learner.save_state(tmp_path)
    state = torch.load(tmp_path / "learner.pt", weights_only=True)
    assert list(state) == ["policy"]
    with pytest.raises(InputError, match="cannot be loaded"):
        policy(untied, VALUES).load_state(tmp_path)


def test_steps_raise_what_was_better_than_the_other_samples(untied: str) -> None:
    learner = policy(untied, rloo.NEEDS)
    batch = rloo_batch(learner)
    for _ in range(5):
        learner.step(batch, RLOO_LOSS)
    moved_BT = learner.logprobs(batch) - batch.logprobs_BT
    good_BT = batch.keep_BT & (batch.advantages_BT > 0)
    assert float(moved_BT[good_BT].mean()) > 0 > float(moved_BT[batch.keep_BT & ~good_BT].mean())


def kl_of(learner: HfPolicy, batch: Scored) -> Any:
    """The KL that the learner hands to the loss, caught there, with its rows' completions."""
    caught = []

    def watch(rows: Any, logprobs_BT: Any, reference_kl_BT: Any, *, tokens: float) -> superhf.Loss:
        caught.append((rows, reference_kl_BT))
        return superhf.loss(rows, logprobs_BT, reference_kl_BT, superhf.Config(), tokens=tokens)

    learner.step(batch, watch)
    return caught


@pytest.mark.parametrize("micro_batch", [2, 16])
def test_the_kl_is_that_of_whole_vocabularies_one_token_before(untied: str, micro_batch: int) -> None:
    """Computed row by row with transformers: the distributions that predict each token, not those after it."""
    learner = policy(untied, superhf.NEEDS, STEADY._replace(micro_batch=micro_batch))
    batch = scored(learner)
    with torch.no_grad():
        learner._policy.model.get_parameter("lm_head.weight").mul_(1.2)  # so that there is a KL
    reference, trained = (AutoModelForCausalLM.from_pretrained(untied) for _ in range(2))
    trained.lm_head.weight.data.mul_(1.2)
    seen = 0
    for rows, kl_BT in kl_of(learner, batch):
        for row in range(len(rows.keep_BT)):
            prompt = rows.prompt_BP[row][rows.prompt_keep_BP[row]].tolist()
            completion = rows.completion_BT[row][rows.keep_BT[row]].tolist()
            ids = torch.tensor([prompt + completion])
            with torch.no_grad():
                ref_SV, pi_SV = ((m(ids).logits[0] / 0.7).log_softmax(-1) for m in (reference, trained))
            kl_S = (ref_SV.exp() * (ref_SV - pi_SV)).sum(-1)
            expected = kl_S[len(prompt) - 1 : -1].tolist()
            assert kl_BT[row, : len(completion)].tolist() == pytest.approx(expected, abs=1e-4)
            assert not kl_BT[row, len(completion) :].any() and min(expected) > 1e-3
            seen += 1
    assert seen == len(batch.keep_BT)


def test_superhf_imitates_and_the_kl_holds_it_back(untied: str) -> None:
    drifted = {}
    for coefficient in (0.0, 5.0):
        learner = policy(untied, superhf.NEEDS)
        config = superhf.Config(group_size=2, kl_coefficient=coefficient)
        batch = superhf.prepare(scored(learner), config, {})
        assert len(batch.keep_BT) == 3
        stats = [learner.step(batch, partial(superhf.loss, config=config)) for _ in range(8)]
        assert stats[0]["reference_kl"] == pytest.approx(0, abs=1e-5)
        assert stats[-1]["cross_entropy"] < stats[0]["cross_entropy"] - 0.5
        drifted[coefficient] = stats[-1]["reference_kl"]
    assert drifted[0.0] > 2 * drifted[5.0] > 0


def test_micro_batches_change_nothing(untied: str) -> None:
    whole, split = (policy(untied, superhf.NEEDS, STEADY._replace(micro_batch=n, learning_rate=1e-4)) for n in (16, 1))
    batch = scored(whole)
    loss = partial(superhf.loss, config=superhf.Config())
    stats = [[learner.step(batch, loss) for _ in range(2)][-1] for learner in (whole, split)]
    assert stats[0] == pytest.approx(stats[1], rel=1e-3, abs=1e-5)
    assert largest_difference(tensors(whole._policy.model), tensors(split._policy.model)) < 1e-6


def test_shared_values_read_the_states_that_the_logits_come_from(untied: str) -> None:
    learner = HfPolicy(
        untied,
        value_models={},
        optimisation=STEADY,
        value_learning_rate=1e-3,
        temperature=0.7,
        seed=0,
        needs=("values", "cost_values"),
        shared_values=True,
    )
    batch = rollouts(learner)
    model: Any = learner._networks["policy"].model
    networks: dict[str, Any] = {name: learner._networks[name.removesuffix("s")].model for name in learner._valued}
    heads = {name: network.score for name, network in networks.items()}
    found = learner.values(batch)
    assert set(found) == {"values_BT", "cost_values_BT"}
    row = 1
    prompt = batch.prompt_BP[row][batch.prompt_keep_BP[row]].tolist()
    completion = batch.completion_BT[row][batch.keep_BT[row]].tolist()
    with torch.no_grad():
        states_SD = model.model(torch.tensor([prompt + completion])).last_hidden_state[0]
        for name, head in heads.items():
            expected_T = head(states_SD[len(prompt) - 1 : -1]).squeeze(-1)
            assert torch.allclose(found[f"{name}_BT"][row, : len(completion)], expected_T, atol=1e-5)
    assert not torch.equal(found["values_BT"], found["cost_values_BT"])
