from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, pstdev
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlaif.engines import tokens
from rlaif.engines.learner.network import init_head, load_classifier
from rlaif.engines.learner.reward import HfReward, HfRewardScorer
from rlaif.ports.learner import PairTarget
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Message
from tests.engines.learner.material import (
    BT_LOSS,
    CONVERSATIONS,
    SMALL,
    STEADY,
    largest_difference,
    said,
    spoilt,
    tensors,
)
from tests.tiny import tiny_model

HI = [Message(role="user", content="Hi")]
PAIRS = [
    PairTarget(HI, "Mix flour.", "Answer with A or B.", p=0.9, weight=1.0),
    PairTarget(CONVERSATIONS[2].messages, "A", "Which response follows the principle better?", p=0.2, weight=0.5),
    PairTarget(HI, "B", "", p=0.6, weight=2.0),
    PairTarget(CONVERSATIONS[0].messages, "bread", "flour", p=0.5, weight=0.0),
]


def plain_scores(folder: Path | str, side: str) -> list[float]:
    """Transformers alone, all rows in one batch, padded on one side."""
    tokenizer = tokens.load_tokenizer(str(folder))
    rows = [
        tokens.prompt_ids(tokenizer, c.messages) + tokens.completion_ids(tokenizer, c.response) for c in CONVERSATIONS
    ]
    padded = tokenizer.pad({"input_ids": rows}, padding_side=side, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        logits_B1 = model(**padded).logits
    assert logits_B1.shape == (len(rows), 1)
    return [float(score) for score in logits_B1[:, 0] + model.config.reward_bias]


def all_weights(learner: HfReward) -> dict[str, torch.Tensor]:
    return tensors(learner._model)


@pytest.mark.parametrize("side", ["left", "right"])
def test_transformers_alone_gives_the_same_scores_padded_on_either_side(reward: str, side: str) -> None:
    scores = HfRewardScorer(reward).score(CONVERSATIONS)
    assert pstdev(scores) > 0.1
    assert plain_scores(reward, side) == pytest.approx(scores, abs=1e-4)


def test_scores_do_not_depend_on_what_else_is_in_the_batch(reward: str) -> None:
    together = HfRewardScorer(reward).score(CONVERSATIONS)
    alone = [HfRewardScorer(reward, micro_batch=1).score([row])[0] for row in CONVERSATIONS]
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_score_is_read_at_the_end_of_the_reply(untied: str) -> None:
    """The hidden state of EOS times the head, by hand."""
    learner = HfReward(untied, optimisation=STEADY, seed=0)
    ids = learner._read(CONVERSATIONS[0])
    assert ids[-1] == learner._reader.tokenizer.eos_token_id
    body = AutoModelForCausalLM.from_pretrained(untied).model
    with torch.no_grad():
        hidden_D = body(torch.tensor([ids])).last_hidden_state[0, -1]
        expected = float(hidden_D @ learner._model.score.weight[0])
    assert learner.score(CONVERSATIONS)[0] == pytest.approx(expected, abs=1e-5)


def pad_is_eos(folder: Path, spare: bool) -> str:
    """A model folder whose tokenizer pads with EOS, with or without another special token to pad with."""
    tiny_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    if not spare:
        tokenizer.bos_token = None
        tokenizer.extra_special_tokens = []
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 3}))
    return str(folder)


@pytest.mark.parametrize("spare", [True, False])
def test_a_tokenizer_that_pads_with_eos_is_given_another_pad(tmp_path: Path, spare: bool) -> None:
    learner = HfReward(pad_is_eos(tmp_path / "model", spare), optimisation=STEADY, seed=0)
    reference = HfReward(str(tiny_model(tmp_path / "good")), optimisation=STEADY, seed=0)
    assert learner.score(CONVERSATIONS) == pytest.approx(reference.score(CONVERSATIONS), abs=1e-5)
    learner.save(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id == 3
    assert (tokenizer.pad_token == "<|pad|>") is not spare
    for side in ("left", "right"):
        assert plain_scores(tmp_path / "saved", side) == pytest.approx(learner.score(CONVERSATIONS), abs=1e-4)


def test_a_sequence_that_would_be_read_one_token_early_is_refused(reward: str) -> None:
    scorer = HfRewardScorer(reward)
    with pytest.raises(ValueError, match="one token early"):
        scorer._forward(scorer._model, [[5, 6, scorer._pad_id]])


def test_the_head_is_drawn_by_the_seed(untied: str) -> None:
    heads = [HfReward(untied, optimisation=STEADY, seed=seed)._model.score.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_the_head_starts_as_wide_as_the_paper_says() -> None:
    model = SimpleNamespace(score=torch.nn.Linear(9999, 1))
    init_head(model, seed=0)
    assert model.score.weight.std().item() == pytest.approx(0.01, rel=0.03)  # 9999 draws: standard error 0.7 %
    assert model.score.bias.item() == 0


def test_the_body_is_the_backbone(untied: str) -> None:
    body = tensors(HfReward(untied, optimisation=STEADY, seed=0)._model.model)
    assert largest_difference(body, tensors(AutoModelForCausalLM.from_pretrained(untied).model)) == 0


def test_from_scratch_keeps_architecture_and_tokenizer_alone(untied: str, tmp_path: Path) -> None:
    learners = [HfReward(untied, optimisation=STEADY, seed=seed, from_scratch=True) for seed in (5, 5, 6)]
    bodies = [tensors(learner._model.model) for learner in learners]
    trained = tensors(AutoModelForCausalLM.from_pretrained(untied).model)
    assert largest_difference(bodies[0], bodies[1]) == 0
    assert largest_difference(bodies[0], bodies[2]) > 0.1 < largest_difference(bodies[0], trained)
    learners[0].save(tmp_path / "saved")
    assert HfRewardScorer(str(tmp_path / "saved")).score(CONVERSATIONS) == learners[0].score(CONVERSATIONS)


def test_training_goes_on_from_a_reward_model(reward: str) -> None:
    assert HfReward(reward, optimisation=STEADY, seed=9).score(CONVERSATIONS) == HfRewardScorer(reward).score(
        CONVERSATIONS
    )


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_micro_batches_change_nothing(untied: str, micro_batch: int) -> None:
    whole = HfReward(untied, optimisation=SMALL, seed=0)
    split = HfReward(untied, optimisation=SMALL._replace(micro_batch=micro_batch), seed=0)
    stats = [learner.step(PAIRS, BT_LOSS) for learner in (whole, split)]
    assert stats[0] == pytest.approx(stats[1], rel=1e-5, abs=1e-6)
    assert largest_difference(all_weights(whole), all_weights(split)) < 1e-6


def test_swapping_the_two_replies_and_mirroring_the_label_changes_nothing(untied: str) -> None:
    learner, mirrored = (HfReward(untied, optimisation=STEADY, seed=0) for _ in range(2))
    learner.step(PAIRS, BT_LOSS)
    mirrored.step([x._replace(first=x.second, second=x.first, p=1 - x.p) for x in PAIRS], BT_LOSS)
    assert largest_difference(all_weights(learner), all_weights(mirrored)) < 1e-6


def test_a_separable_set_is_learnt(untied: str) -> None:
    good, bad = ("flour", "bread", "Mix"), ("Answer", "Which", "Choose")
    pairs = [PairTarget(HI, g, b, p=1.0, weight=1.0) for g, b in zip(good, bad, strict=True)]
    pairs += [PairTarget(p.messages, p.second, p.first, p=0.0, weight=1.0) for p in pairs]
    learner = HfReward(untied, optimisation=STEADY._replace(learning_rate=3e-3), seed=0)
    first = learner.step(pairs, BT_LOSS)
    for _ in range(20):
        last = learner.step(pairs, BT_LOSS)
    assert last["accuracy"] == pytest.approx(1.0)
    assert last["loss"] < 0.1 < 0.3 < first["loss"]


def test_normalised_scores_have_mean_0_and_deviation_1_also_when_saved(untied: str, tmp_path: Path) -> None:
    learner = HfReward(untied, optimisation=STEADY, seed=0)
    raw = learner.score(CONVERSATIONS)
    learner.normalise(fmean(raw), pstdev(raw))
    scores = learner.score(CONVERSATIONS)
    assert [fmean(scores), pstdev(scores)] == pytest.approx([0, 1], abs=1e-5)
    learner.save(tmp_path / "saved")
    assert HfRewardScorer(str(tmp_path / "saved")).score(CONVERSATIONS) == pytest.approx(scores, abs=1e-6)
    assert plain_scores(tmp_path / "saved", "right") == pytest.approx(scores, abs=1e-4)


def test_normalising_twice_composes(untied: str) -> None:
    learner = HfReward(untied, optimisation=STEADY, seed=0)
    raw = learner.score(CONVERSATIONS)
    learner.normalise(1.0, 2.0)
    learner.normalise(-0.5, 0.25)
    assert learner.score(CONVERSATIONS) == pytest.approx([((x - 1) / 2 + 0.5) / 0.25 for x in raw], abs=1e-4)


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.0), (0.0, -1.0), (0.0, float("nan")), (float("nan"), 1.0)])
def test_a_scale_that_is_none_is_refused(untied: str, mean: float, spread: float) -> None:
    with pytest.raises(ValueError):
        HfReward(untied, optimisation=STEADY, seed=0).normalise(mean, spread)


def test_rows_that_are_too_long_are_counted_once(tmp_path: Path) -> None:
    learner = HfReward(str(tiny_model(tmp_path / "model", context=32)), optimisation=STEADY, seed=0)
    assert learner.truncated == 0
    for _ in range(2):
        learner.score([said("x " * 60, "short"), said("Hi", "short")])
    assert learner.truncated == 1


@pytest.mark.parametrize("gradient_only", [True, False])
def test_nan_halts_and_leaves_the_weights(untied: str, gradient_only: bool) -> None:
    learner = HfReward(untied, optimisation=STEADY, seed=0)
    before = all_weights(learner)
    with pytest.raises(RunHalted, match="weights are unchanged"):
        learner.step(PAIRS, spoilt(BT_LOSS, gradient_only=gradient_only))
    assert largest_difference(before, all_weights(learner)) == 0


def test_a_score_that_is_no_number_halts(untied: str) -> None:
    learner = HfReward(untied, optimisation=STEADY, seed=0)
    with torch.no_grad():
        learner._model.score.weight[0, 0] = float("inf")
    with pytest.raises(RunHalted, match="score"):
        learner.score(CONVERSATIONS)


def test_a_language_model_does_not_score(untied: str) -> None:
    with pytest.raises(InputError, match="not a reward model"):
        HfRewardScorer(untied)


def test_a_classifier_with_several_outputs_is_refused(untied: str, tmp_path: Path) -> None:
    model = load_classifier(untied).model
    model.config.num_labels = 3
    type(model)(model.config).save_pretrained(tmp_path)
    tokens.load_tokenizer(untied).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="3 outputs"):
        HfReward(str(tmp_path), optimisation=STEADY, seed=0)
