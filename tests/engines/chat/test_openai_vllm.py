"""The `openai` engine against a real vLLM server of the shipped critic: the same judgements as in this process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlaif.critique.compare import questions
from rlaif.engines import tokens
from rlaif.engines.chat.openai_compatible import Ability, OpenAIChat
from rlaif.ports import registry
from rlaif.ports.budget import Budget, parse_price
from rlaif.ports.chat import ChatModel, Failure, GenerateRequest, Generation, OptionLogprobs, OptionRequest, Sampling
from rlaif.records import constitution
from rlaif.records.inputs import read_pairs
from rlaif.records.prompt import Message
from rlaif.testing import chat_contract
from tests.engines.chat.conftest import CONTEXT, SERVED

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

TOLERANCE = 1e-3  # nats, between engines that run the same weights in fp32
CHOICES = ("A", "B", "10")
DIGITS = tuple(str(number) for number in range(1, 11))


@pytest.fixture
def chat(vllm_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIChat]:
    monkeypatch.setenv("OPENAI_BASE_URL", vllm_server)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    yield OpenAIChat(SERVED)


@pytest.fixture(scope="session")
def real_requests(data_folder: Path) -> list[OptionRequest]:
    """Forty questions about real pairs, in both orders."""
    pairs = read_pairs(str(data_folder / "hh-rlhf" / "harmless-base.jsonl"), limit=10)
    every = (q for pair in pairs for q in questions(pair, constitution.load("hhh")))
    return [OptionRequest(q.messages, ("A", "B")) for q in islice(every, 40)]


def shares(answer: OptionLogprobs) -> list[float]:
    """The options' probabilities among themselves."""
    highest = max(answer.logprobs)
    weights = [math.exp(value - highest) for value in answer.logprobs]
    return [weight / sum(weights) for weight in weights]


def test_contract(chat: OpenAIChat) -> None:
    chat_contract.check(chat, context=CONTEXT, remote=True)


@pytest.mark.parametrize("engine", ["hf", "vllm"])
def test_real_judgements_equal_those_in_this_process(
    engine: str, chat: OpenAIChat, real_requests: list[OptionRequest]
) -> None:
    here: ChatModel = registry.load("chat", engine)("tinyworld/critic")
    far, near = chat.option_logprobs(real_requests), here.option_logprobs(real_requests)
    here.close()
    spread = set()
    for one, other in zip(far, near, strict=True):
        assert isinstance(one, OptionLogprobs) and isinstance(other, OptionLogprobs), (one, other)
        assert one.logprobs == pytest.approx(other.logprobs, abs=TOLERANCE)
        spread.add(round(one.logprobs[0], 2))
    assert len(spread) > 10, "the critic says the same of everything, so equality shows nothing"


def test_scores_and_other_options_equal_those_in_this_process(
    chat: OpenAIChat, real_requests: list[OptionRequest]
) -> None:
    """The scores 1 to 10, and words that the critic's tokenizer writes in several tokens."""
    here: ChatModel = registry.load("chat", "hf")("tinyworld/critic")
    for options in (DIGITS, ("Yes", "No")):
        requests = [OptionRequest(request.messages, options) for request in real_requests[:10]]
        for one, other in zip(chat.option_logprobs(requests), here.option_logprobs(requests), strict=True):
            assert isinstance(one, OptionLogprobs) and isinstance(other, OptionLogprobs), (one, other)
            assert shares(one) == pytest.approx(shares(other), abs=TOLERANCE)
    here.close()


def test_an_option_of_several_tokens_is_read_to_its_end(chat: OpenAIChat) -> None:
    """Teacher forcing by transformers: the critic's tokenizer spells "10" as "1" and "0"."""
    messages = [Message(role="user", content="How many steps are there from one to ten?")]
    (answer,) = chat.option_logprobs([OptionRequest(messages, DIGITS)])
    assert isinstance(answer, OptionLogprobs)
    tokenizer = tokens.load_tokenizer("tinyworld/critic")
    model = AutoModelForCausalLM.from_pretrained(registry.model_path("tinyworld/critic"), dtype=torch.float32)
    prompt = tokens.prompt_ids(tokenizer, messages)
    one, zero = (tokenizer.convert_tokens_to_ids(digit) for digit in "10")
    with torch.no_grad():
        first = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        second = model(torch.tensor([[*prompt, one]])).logits[0, -1].log_softmax(-1)
    ten = float(first[one] + second[zero])
    assert answer.logprobs[9] == pytest.approx(ten, abs=TOLERANCE)
    assert math.exp(answer.logprobs[0]) == pytest.approx(math.exp(float(first[one])) - math.exp(ten), rel=TOLERANCE)
    two = float(first[tokenizer.convert_tokens_to_ids("2")])
    assert answer.logprobs[1] == pytest.approx(two, abs=TOLERANCE)
    assert answer.usage.completion_tokens == 2


def test_the_list_of_the_likeliest_gives_the_same_numbers(
    chat: OpenAIChat, real_requests: list[OptionRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an endpoint that is no vLLM, which cannot be asked for tokens by id."""
    by_id = chat.option_logprobs(real_requests)
    other = OpenAIChat(SERVED)
    other._is_vllm = False
    for one, two in zip(by_id, other.option_logprobs(real_requests), strict=True):
        assert isinstance(one, OptionLogprobs) and isinstance(two, OptionLogprobs), (one, two)
        for a, b in zip(one.logprobs, two.logprobs, strict=True):
            assert abs(math.exp(a) - math.exp(b)) < TOLERANCE


def test_replies_are_held_to_choices(chat: OpenAIChat) -> None:
    requests = [GenerateRequest([Message(role="user", content="Pick one.")], seed, CHOICES) for seed in range(12)]
    answers = chat.generate(requests, Sampling(1.0, 1))
    texts = [answer.text for answer in answers if isinstance(answer, Generation)]
    assert len(texts) == 12 and len(set(texts)) > 1 and set(texts) <= set(CHOICES)


def test_replies_are_held_to_a_json_object_where_the_endpoint_is_no_vllm(chat: OpenAIChat) -> None:
    """The critic never saw JSON, so some of its replies are white space to the end, which are failures."""
    chat._is_vllm, chat._found = False, Ability("choices", 0)
    requests = [GenerateRequest([Message(role="user", content="Pick one.")], seed, CHOICES) for seed in range(12)]
    answers = chat.generate(requests, Sampling(1.0, 1))
    texts = [answer.text for answer in answers if isinstance(answer, Generation)]
    assert texts and set(texts) <= set(CHOICES)
    assert all("choices" in answer.reason for answer in answers if isinstance(answer, Failure))


def test_the_ledger_counts_what_the_server_bills(
    vllm_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", vllm_server)
    budget = Budget(tmp_path / "cost.sqlite", parse_price("1/2"))
    chat = OpenAIChat(SERVED, budget=budget)
    messages = [Message(role="user", content="Hello there")]
    (answer,) = chat.generate([GenerateRequest(messages, 1)], Sampling(1.0, 5))
    assert isinstance(answer, Generation)
    prompt = len(tokens.prompt_ids(tokens.load_tokenizer("tinyworld/critic"), messages))
    assert answer.usage.prompt_tokens == prompt and answer.usage.completion_tokens == answer.tokens
    found = budget.summary()
    assert (found.prompt_tokens, found.completion_tokens) == answer.usage
    assert found.spent * 10**6 == prompt + 2 * answer.tokens and found.reserved == 0
