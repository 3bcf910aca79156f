"""Every chat engine against the contract that third parties run on theirs."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rlaif.engines import tokens
from rlaif.engines.chat.hf import HfChat
from rlaif.engines.chat.local import _Tree
from rlaif.engines.chat.scripted import ScriptedChat
from rlaif.ports.chat import ChatModel, Failure, GenerateRequest, OptionLogprobs, OptionRequest, Sampling
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message
from rlaif.testing import chat_contract
from tests.tiny import tiny_model, tiny_tokenizer

CONTEXT = 512


def ask(text: str, *options: str) -> OptionRequest:
    return OptionRequest([Message(role="user", content=text)], options)


def probability(answer: OptionLogprobs | Failure) -> float:
    """Of the first option."""
    assert isinstance(answer, OptionLogprobs), answer
    return math.exp(answer.logprobs[0])


def test_scripted() -> None:
    chat_contract.check(ScriptedChat("rlaif.testing.scripts:even"), seeded=False)


def test_hf(hf_chat: ChatModel) -> None:
    chat_contract.check(hf_chat, context=CONTEXT)


@pytest.mark.vllm
def test_vllm(vllm_chat: ChatModel) -> None:
    chat_contract.check(vllm_chat, context=CONTEXT)


@pytest.mark.vllm
def test_vllm_agrees_with_transformers(vllm_chat: ChatModel, hf_chat: ChatModel) -> None:
    chat_contract.agree(vllm_chat, hf_chat)


def test_the_suite_notices_another_model(hf_chat: ChatModel, tmp_path: Path) -> None:
    other = HfChat(str(tiny_model(tmp_path, seed=7)))
    other.digest = hf_chat.digest
    with pytest.raises(AssertionError):
        chat_contract.agree(hf_chat, other)


def test_padding_changes_no_answer(tmp_path: Path) -> None:
    """A short prompt beside a long one reads and writes as it does alone, also where positions are absolute (GPT-2)."""
    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=CONTEXT, initializer_range=0.3)
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    tiny_tokenizer().save_pretrained(tmp_path)
    chat = HfChat(str(tmp_path))
    short, long = ask("Hi", "A", "B"), ask("Tell me more. " * 30, "A", "B")
    alone, beside = chat.option_logprobs([short])[0], chat.option_logprobs([long, short])[1]
    assert isinstance(alone, OptionLogprobs) and isinstance(beside, OptionLogprobs)
    assert alone.logprobs == pytest.approx(beside.logprobs, abs=1e-4)
    requests = [GenerateRequest(one.messages, 0) for one in (short, long)]
    greedy = Sampling(0.0, 24)
    assert chat.generate(requests[:1], greedy)[0] == chat.generate(requests, greedy)[0]


def test_the_probabilities_of_an_options_spellings_add_up(hf_chat: HfChat, monkeypatch: pytest.MonkeyPatch) -> None:
    """P(A) is that of the token "A" and that of the token " A", each of which can be read alone."""
    (both,) = hf_chat.option_logprobs([ask("Hi", "A")])
    ((bare, spaced),) = tokens.option_spellings(tiny_tokenizer(), ("A",))
    monkeypatch.setattr(hf_chat, "_trees", {("A",): _Tree.of(((bare,),)), ("B",): _Tree.of(((spaced,),))})
    parts = [probability(answer) for answer in hf_chat.option_logprobs([ask("Hi", "A"), ask("Hi", "B")])]
    assert min(parts) > 1e-5
    assert probability(both) == pytest.approx(sum(parts), abs=1e-7)


@pytest.mark.parametrize("engine", ["hf_chat", pytest.param("vllm_chat", marks=pytest.mark.vllm)])
def test_samples_follow_the_models_distribution(engine: str, request: pytest.FixtureRequest) -> None:
    """The first token of 2,000 seeds: its frequency is its probability within 4 standard errors."""
    chat = request.getfixturevalue(engine)
    messages = [Message(role="user", content="Hello")]
    drawn = chat.generate([GenerateRequest(messages, seed) for seed in range(2000)], Sampling(1.0, 1))
    words = Counter(answer.text for answer in drawn)
    likely = [word for word, _ in words.most_common() if word.strip() == word and word.isascii() and word.isalnum()][:3]
    for option in likely:
        p = probability(chat.option_logprobs([OptionRequest(messages, (option,))])[0])
        found = sum(answer.text.strip() == option for answer in drawn) / len(drawn)
        assert abs(found - p) < 4 * math.sqrt(p * (1 - p) / len(drawn)), (option, found, p)
    assert len(likely) == 3


def test_weights_that_are_not_finite_are_failures(tmp_path: Path) -> None:
    chat = HfChat(str(tiny_model(tmp_path)))
    chat._runtime.model.lm_head.weight.data.fill_(math.nan)  # type: ignore[attr-defined]
    (answer,) = chat.option_logprobs([ask("Hi", "A", "B")])
    assert isinstance(answer, Failure) and "not finite" in answer.reason
    (text,) = chat.generate([GenerateRequest(ask("Hi").messages, 0)], Sampling(1.0, 4))
    assert isinstance(text, Failure) and "not finite" in text.reason


def test_text_that_cannot_be_tokenised_fails_alone(hf_chat: ChatModel) -> None:
    broken = OptionRequest([Message.model_construct(role="user", content="half \ud83d a pair")], ("A", "B"))
    before, failed, after = hf_chat.option_logprobs([ask("Hi", "A", "B"), broken, ask("Ho", "A", "B")])
    assert isinstance(failed, Failure) and "surrogate" in failed.reason
    assert isinstance(before, OptionLogprobs) and isinstance(after, OptionLogprobs)


def test_a_folder_without_safetensors_is_an_input_error(untied_folder: Path, tmp_path: Path) -> None:
    for file in untied_folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")  # a pickle is never opened
    with pytest.raises(InputError, match="cannot load"):
        HfChat(str(tmp_path))
