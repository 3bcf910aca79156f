"""Decoding under a setting: the KL divergence by hand, and replies held to transformers' own `generate`."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from rlaif.engines.decoding import Drawing, HfDecoder, processors
from rlaif.engines.tokens import load_tokenizer, prompt_ids
from rlaif.ports.chat import GenerateRequest
from rlaif.records.decoding import OWN, Setting
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Message

OWN_P = (0.5, 0.3, 0.2)
STOP = 2


def drawing(setting: Setting, uniforms: list[list[float]], banned: list[list[int]] | None = None) -> Drawing:
    return Drawing(
        processors(setting, banned or []),
        torch.tensor(uniforms, dtype=torch.float64),
        torch.tensor([STOP]),
        greedy=setting.temperature == 0,
    )


def logits(rows: int = 1) -> torch.Tensor:
    return torch.tensor([OWN_P] * rows).log() + 3.0  # a constant is no part of a distribution


@pytest.mark.parametrize(
    ("setting", "banned", "kl"),
    [
        (OWN, [], 0.0),
        (Setting(temperature=0.5), [], 0.057000),  # q = (25, 9, 4) / 38
        (Setting(top_k=2), [], math.log(1.25)),  # cutting costs minus the logarithm of what is left, 0.8
        (Setting(top_p=0.75), [], math.log(1.25)),
        (Setting(temperature=0.5, top_k=2), [], 0.250444),  # q = (25, 9) / 34
        (Setting(temperature=0.0), [], math.log(2)),
        (Setting(), [[0]], math.log(2)),
        (Setting(temperature=0.5), [[0]], 0.711490),  # q = (9, 4) / 13 against (0.3, 0.2)
        (Setting(temperature=0.0), [[0]], -math.log(0.3)),
    ],
)
def test_the_divergence_of_one_token(setting: Setting, banned: list[list[int]], kl: float) -> None:
    last = drawing(setting, [[0.1]], banned)
    scores = last(torch.tensor([[1]]), logits())
    assert last.kl_B.tolist() == pytest.approx([kl], abs=1e-6)
    assert int((scores == 0).sum()) == 1 and int((scores == -torch.inf).sum()) == 2


def test_a_row_that_ended_adds_nothing() -> None:
    last = drawing(Setting(top_k=2), [[0.1, 0.1], [0.1, 0.1]])
    last(torch.tensor([[1], [1]]), logits(2))
    last(torch.tensor([[1, STOP], [1, 0]]), logits(2))
    assert last.kl_B.tolist() == pytest.approx([math.log(1.25), 2 * math.log(1.25)], abs=1e-6)


def test_tokens_come_as_often_as_the_setting_says() -> None:
    uniforms = [[(number + 0.5) / 100] for number in range(100)]
    last = drawing(Setting(temperature=0.5, top_k=2), uniforms)
    scores = last(torch.ones(100, 1, dtype=torch.long), logits(100))
    assert Counter(scores.argmax(-1).tolist()) == {0: 74, 1: 26}  # 25 / 34 and 9 / 34


def test_what_is_not_finite_and_a_mask_of_everything_stop() -> None:
    broken = logits()
    broken[0, 1] = torch.nan
    with pytest.raises(RunHalted, match="logit is nan"):
        drawing(OWN, [[0.1]])(torch.tensor([[1]]), broken)
    with pytest.raises(RunHalted, match="leaves no token"):
        drawing(OWN, [[0.1]], [[0], [1], [2]])(torch.tensor([[1]]), logits())


@pytest.fixture(scope="module")
def decoder(untied_folder: Path) -> HfDecoder:
    return HfDecoder(str(untied_folder))


def request(text: str, seed: int) -> GenerateRequest:
    return GenerateRequest([Message(role="user", content=text)], seed)


REQUESTS = [request("How do I bake bread?", 1), request("Hi", 2), request("Who are you, and why?", 3)]


def test_a_reply_does_not_depend_on_its_batch(decoder: HfDecoder) -> None:
    setting = Setting(temperature=0.7, top_p=0.9)
    together = decoder.draw(REQUESTS, setting, 12)
    alone = [decoder.draw([own], setting, 12)[0] for own in REQUESTS]
    assert [d.text for d in together] == [d.text for d in alone]
    assert [d.kl for d in together] == pytest.approx([d.kl for d in alone], abs=1e-3)  # float32 in other shapes
    assert decoder.draw([request("Hi", 4)], setting, 12) != decoder.draw([request("Hi", 5)], setting, 12)


def test_greedy_is_as_far_as_its_reply_is_unlikely(decoder: HfDecoder, untied_folder: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(untied_folder)
    found = decoder.draw(REQUESTS, Setting(temperature=0.0), 12)
    for own, reply in zip(REQUESTS, found, strict=True):
        prompt = torch.tensor([prompt_ids(load_tokenizer(str(untied_folder)), own.messages)])
        written = model.generate(prompt, do_sample=False, max_new_tokens=12)
        steps = model(written).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
        surprise = -steps.gather(1, written[0, prompt.shape[1] :, None]).sum()
        assert reply.tokens == len(steps)
        assert reply.kl == pytest.approx(surprise.item(), abs=1e-3)  # float32, and other shapes
    assert [reply.kl for reply in decoder.draw(REQUESTS, OWN, 12)] == [0.0, 0.0, 0.0]


def test_transformers_decodes_as_the_written_file_says(decoder: HfDecoder, untied_folder: Path, tmp_path: Path) -> None:
    setting = Setting(temperature=0.6, top_p=0.9, top_k=30, mask=["bread"])
    (tmp_path / "generation_config.json").write_text(decoder.config(setting))
    config = GenerationConfig.from_pretrained(tmp_path)
    assert (config.do_sample, config.temperature, config.top_p, config.top_k) == (True, 0.6, 0.9, 30)
    assert (config.eos_token_id, config.pad_token_id, config.bos_token_id) == (3, 0, 1)
    model: Any = AutoModelForCausalLM.from_pretrained(untied_folder)
    prompt = torch.tensor([[1, 40, 50, 60]])
    made = model.generate(
        prompt, generation_config=config, max_new_tokens=3, output_scores=True, return_dict_in_generate=True
    )
    own = processors(setting, config.bad_words_ids)
    for step, theirs in enumerate(made.scores):
        read = made.sequences[:, : 4 + step]
        ours = own(read, model(read).logits[:, -1].float())
        assert 1 <= int(theirs.isfinite().sum()) <= 30
        assert torch.allclose(ours.softmax(-1), theirs.softmax(-1), atol=1e-5)


def test_greedy_and_the_models_own_are_written_so_that_nothing_is_left_to_defaults(
    decoder: HfDecoder, tmp_path: Path
) -> None:
    (tmp_path / "generation_config.json").write_text(decoder.config(OWN))
    own = GenerationConfig.from_pretrained(tmp_path)
    assert (own.do_sample, own.temperature, own.top_p, own.top_k) == (True, 1.0, 1.0, 0)  # 50 where not said
    (tmp_path / "generation_config.json").write_text(decoder.config(Setting(temperature=0.0)))
    assert GenerationConfig.from_pretrained(tmp_path).do_sample is False


def test_a_masked_word_is_written_less(decoder: HfDecoder) -> None:
    requests = [request("Hi", seed) for seed in range(40)]
    own = [reply.text for reply in decoder.draw(requests, OWN, 12)]
    letter = Counter(character for text in own for character in text if character.isascii()).most_common(1)[0][0]
    masked = decoder.draw(requests, Setting(mask=[letter]), 12)
    assert sum(reply.kl for reply in masked) > 0
    assert sum(r.text.count(letter) for r in masked) < sum(text.count(letter) for text in own)


@pytest.mark.parametrize("word", ["", " bread", "<|im_end|>"])
def test_a_mask_that_is_no_word_is_refused(decoder: HfDecoder, word: str) -> None:
    with pytest.raises(InputError, match="cannot write"):
        decoder.check(Setting(mask=[word]))


def test_a_reply_without_room_is_refused(decoder: HfDecoder) -> None:
    with pytest.raises(InputError, match="the model 512"):
        decoder.draw(REQUESTS, OWN, 500)
