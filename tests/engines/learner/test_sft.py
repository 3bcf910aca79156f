from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaMLP

from rlaif.engines.learner.likelihood import HfLikelihood
from rlaif.engines.learner.sft import HfSft
from rlaif.records.errors import InputError, RunHalted
from tests.engines.learner.material import CONVERSATIONS, SMALL, STEADY, largest_difference, said, tensors
from tests.tiny import tiny_model


def test_the_loss_is_a_mean_over_tokens_not_over_rows(untied: str) -> None:
    learner, frozen = HfSft(untied, optimisation=STEADY), HfLikelihood(untied)
    short, long = CONVERSATIONS[2], CONVERSATIONS[1]
    lengths = [len(frozen.reader.read(row).completion) for row in (short, long)]
    assert lengths[1] > 5 * lengths[0]
    expected = -sum(frozen.logprobs([short, long], [True, True])) / sum(lengths)
    assert learner.evaluate([short, long])["loss"] == pytest.approx(expected, rel=1e-5)
    assert learner.step([short, long])["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batches_change_nothing(untied: str, micro_batch: int) -> None:
    whole = HfSft(untied, optimisation=SMALL)
    split = HfSft(untied, optimisation=SMALL._replace(micro_batch=micro_batch))
    stats = [learner.step(CONVERSATIONS) for learner in (whole, split)]
    assert stats[0] == pytest.approx(stats[1], rel=1e-5)
    assert largest_difference(tensors(whole._network.model), tensors(split._network.model)) < 1e-6


def test_gradient_checkpointing_changes_nothing(untied: str) -> None:
    plain = HfSft(untied, optimisation=STEADY)
    thrifty = HfSft(untied, optimisation=STEADY._replace(gradient_checkpointing=True))
    calls = {}
    for learner in (plain, thrifty):
        with mock.patch.object(LlamaMLP, "forward", autospec=True, side_effect=LlamaMLP.forward) as forward:
            learner.step(CONVERSATIONS)
        calls[learner] = forward.call_count
    assert calls[thrifty] == 2 * calls[plain]  # that is what saves the memory
    assert largest_difference(tensors(plain._network.model), tensors(thrifty._network.model)) < 1e-6


def test_dropout_of_the_folder_is_switched_off(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.5}))
    learners = [HfSft(str(folder), optimisation=STEADY._replace(gradient_checkpointing=True)) for _ in range(2)]
    first, second = (learner.step(CONVERSATIONS)["loss"] for learner in learners)
    assert first == second


def test_a_tiny_set_is_learnt_by_heart(untied: str) -> None:
    learner = HfSft(untied, optimisation=STEADY._replace(learning_rate=1e-2))
    before = learner.evaluate(CONVERSATIONS)["loss"]
    for _ in range(15):
        learner.step(CONVERSATIONS)
    assert before > 3 and learner.evaluate(CONVERSATIONS)["loss"] < 0.1


def test_only_replies_are_learnt(untied: str) -> None:
    """A prompt's tokens pass no gradient of their own: rows that differ in the prompt's loss alone learn alike."""
    learner = HfSft(untied, optimisation=STEADY)
    row = said("Hi", "Mix flour.")
    learner.step([row])
    rows = learner._reader.read(row)
    head = learner._network.model.lm_head.weight.grad  # type: ignore[union-attr]
    model = AutoModelForCausalLM.from_pretrained(untied)
    labels = torch.tensor([[-100] * len(rows.prompt) + rows.completion])
    model(input_ids=torch.tensor([[*rows.prompt, *rows.completion]]), labels=labels).loss.backward()
    expected = model.lm_head.weight.grad
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert torch.allclose(head, expected * min(1.0, STEADY.gradient_clip / float(norm)), atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_the_saved_folder_is_an_ordinary_model(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    learner = HfSft(request.getfixturevalue(kind), optimisation=STEADY)
    learner.step(CONVERSATIONS)
    learner.save(tmp_path / "out" / "model")
    learner.save(tmp_path / "out" / "model")  # over what stands there
    names = {file.name for file in (tmp_path / "out" / "model").iterdir()}
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json"}
    assert wanted <= names
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model"]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert largest_difference(tensors(loaded), tensors(learner._network.model)) == 0
    assert loaded.config.tie_word_embeddings == (kind == "tied")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    assert "assistant" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )


def test_sampling_settings_that_transformers_refuses_to_save_are_mended(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False, "temperature": 0.6, "top_p": 0.9}))
    HfSft(str(folder), optimisation=STEADY).save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert (saved["temperature"], saved["do_sample"]) == (0.6, True)


def test_nan_halts_and_leaves_the_weights(untied: str) -> None:
    learner = HfSft(untied, optimisation=STEADY)
    with torch.no_grad():
        learner._network.model.model.norm.weight[0] = float("nan")  # type: ignore[union-attr, operator]
    before = tensors(learner._network.model)
    with pytest.raises(RunHalted, match="weights are unchanged"):
        learner.step(CONVERSATIONS)
    with pytest.raises(RunHalted, match="held-out"):
        learner.evaluate(CONVERSATIONS)
    after = tensors(learner._network.model)
    assert all(torch.equal(before[name], after[name]) or name == "model.norm.weight" for name in before)


def test_a_folder_without_all_weights_is_refused(reward: str) -> None:
    with pytest.raises(InputError, match="lm_head"):
        HfSft(reward, optimisation=STEADY)


def test_torn_weights_are_refused(tmp_path: Path) -> None:
    weights = tiny_model(tmp_path / "model") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot load the model"):
        HfSft(str(tmp_path / "model"), optimisation=STEADY)


def test_training_in_float16_is_refused(untied: str) -> None:
    with pytest.raises(InputError, match="float16"):
        HfSft(untied, optimisation=STEADY, dtype="float16")
