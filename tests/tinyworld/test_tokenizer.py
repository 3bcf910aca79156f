"""The shared tokenizer and its chat template."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rlaif.records.prompt import Message
from rlaif.tinyworld import corpus
from rlaif.tinyworld.grammar import pick_task
from rlaif.tinyworld.tokenizer import BOS, EOS, PAD, ROLES, VOCABULARY, chat_text, encode
from rlaif.tinyworld.training import MODELS, NAMES


def test_the_chat_template_by_hand(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [("system", "S."), ("user", "U?"), ("assistant", "A."), ("user", "V?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<bos><|system|>S.<|user|>U?<|assistant|>A.<eos><|user|>V?<|assistant|>"
    assert chat_text([Message.model_validate(m) for m in messages], reply=True) == text


def test_special_tokens_are_distinct_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = [tokenizer.convert_tokens_to_ids(token) for token in (PAD, BOS, EOS, *ROLES)]
    assert ids == [0, 1, 2, 3, 4, 5] and len(tokenizer) == VOCABULARY
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_an_answer_is_one_token_right_after_the_role(tokenizer: PreTrainedTokenizerFast) -> None:
    for letter in "AB":
        (ids,) = encode(tokenizer, [f"<|assistant|>{letter}"])
        assert [tokenizer.decode([i]) for i in ids] == ["<|assistant|>", letter]


@given(st.text())
def test_any_text_survives(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    if any(token in text for token in (PAD, BOS, EOS, *ROLES)):
        return
    (ids,) = encode(tokenizer, [text])
    assert tokenizer.decode(ids) == text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def test_replies_fit_into_ninety_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = Random(0)
    replies = [corpus.reply(pick_task(rng, "train"), rng, "train").text for _ in range(500)]
    assert max(len(ids) for ids in encode(tokenizer, replies)) <= 90


@pytest.mark.parametrize("name", NAMES)
def test_all_models_have_the_same_tokenizer(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    other = AutoTokenizer.from_pretrained(MODELS / name)
    assert other.get_vocab() == tokenizer.get_vocab() and other.chat_template == tokenizer.chat_template
    assert (MODELS / name / "chat_template.jinja").is_file()
