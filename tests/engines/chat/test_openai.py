"""The `openai` engine without a model: what it reads from the environment, sends, and makes of lists of tokens."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tenacity import RetryCallState

from rlaif.engines import tokens
from rlaif.engines.chat import openai_http, openai_wire
from rlaif.engines.chat.control_tokens import CONTROL_TOKENS
from rlaif.engines.chat.openai_compatible import OpenAIChat
from rlaif.engines.chat.openai_wire import Entry, Spelling, Tokens, Unusable, from_list, from_paths
from rlaif.ports import registry
from rlaif.ports.chat import Failure, GenerateRequest, Generation, OptionLogprobs, OptionRequest, Sampling, Usage
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message
from rlaif.testing import chat_contract
from tests.faults.endpoint import FaultServer, p_of_a
from tests.tiny import tiny_tokenizer

SCORES = tuple(str(number) for number in range(1, 11))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setattr(openai_http, "BACKOFF", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FaultServer().running() as one:
        monkeypatch.setenv("OPENAI_BASE_URL", one.url)
        yield one


def says(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


# --- the environment ---


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("", "", "OPENAI_API_KEY is not set"),
        ("https://example.org/v1", "", "OPENAI_API_KEY is not set"),
        ("http://example.org/v1", "sk-secret-secret", "not encrypted"),
        ("http://127.0.0.1.example.org/v1", "sk-secret-secret", "not encrypted"),
        ("ftp://127.0.0.1/v1", "", "no http"),
        ("127.0.0.1:8000", "", "no http"),
        ("https://[::1", "", "no http"),
        ("https://host:port/v1", "", "no http"),
        ("https://me:hunter2@example.org/v1", "sk-secret-secret", "user name"),
        ("https://example.org/v1?api-key=hunter2", "sk-secret-secret", "query"),
        ("https://example.org/v1", "sk-\nsecret", "characters"),
        ("https://example.org/v1", "sk-schlüssel", "characters"),
    ],
)
def test_a_bad_environment_is_said_without_secrets(
    url: str, key: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match=says) as caught:
        OpenAIChat("m")
    assert "hunter2" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://localhost:1/v1/", "http://[::1]:1/v1", "http://127.9.9.9"]
)
def test_this_machine_needs_neither_key_nor_https(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert OpenAIChat("m", dtype="auto", batch_size=4, max_model_len=None).spec == "openai:m"


def test_the_digest_is_of_address_and_model_and_not_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for url, model, key in [
        ("https://one/v1", "m", "k" * 9),
        ("https://one/v1/", "m", "l" * 9),
        ("https://one/v1", "n", "k" * 9),
        ("https://two/v1", "m", "k" * 9),
    ]:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", key)
        digests.append(OpenAIChat(model).digest)
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_it_is_registered_and_any_name_is_a_model() -> None:
    assert registry.load("chat", "openai") is OpenAIChat
    for name in ("gpt-4o-mini", "meta-llama/Llama-3.1-8B-Instruct", "/models/served/by/path", "ft:gpt-4o:org::x"):
        assert registry.checked_spec(f"openai:{name}").model == name


def test_importing_it_loads_no_model_library() -> None:
    program = (
        "import sys, rlaif.engines.chat.openai_compatible\n"
        "print([m for m in ('torch', 'transformers', 'vllm', 'datasets', 'pyarrow') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


# --- what is sent ---


def test_contract(server: FaultServer) -> None:
    chat_contract.check_identity(OpenAIChat("m"))
    chat_contract.check_probabilities(OpenAIChat("m"))
    chat_contract.check_option_order(OpenAIChat("m"))
    chat_contract.check_answer_order(OpenAIChat("m"), remote=True)
    chat_contract.check_on_answer(OpenAIChat("m"), remote=True)
    chat_contract.check_empty(OpenAIChat("m"))


def test_texts_cannot_write_control_tokens(server: FaultServer) -> None:
    text = "".join(sorted(CONTROL_TOKENS)) + "<|im_<|im_end|>end|>"
    OpenAIChat("m").generate([GenerateRequest([Message(role="system", content=text), *says(text)], 0)], Sampling(1, 8))
    for turn in server.bodies[-1]["messages"]:
        assert not any(token in turn["content"] for token in CONTROL_TOKENS)
        assert turn["content"].replace(" ", "") == text


def test_the_control_tokens_of_the_shipped_models_are_among_them() -> None:
    for name in registry.SHIPPED_MODELS:
        assert tokens.control_tokens(tokens.load_tokenizer(name)) <= CONTROL_TOKENS
    assert tokens.control_tokens(tiny_tokenizer()) <= CONTROL_TOKENS


def test_seed_temperature_and_limit_are_passed_on(server: FaultServer) -> None:
    OpenAIChat("m").generate([GenerateRequest(says("x"), 2**64 - 1)], Sampling(0.7, 9))
    body = server.bodies[-1]
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.7, 9, "m")
    assert 0 <= body["seed"] < 2**63


def test_half_a_surrogate_pair_fails_alone(server: FaultServer) -> None:
    broken = OptionRequest([Message.model_construct(role="user", content="half \ud83d a pair")], ("A", "B"))
    failed, answer = OpenAIChat("m").option_logprobs([broken, OptionRequest(says("x"), ("A", "B"))])
    assert isinstance(failed, Failure) and "surrogate" in failed.reason
    assert isinstance(answer, OptionLogprobs)


def test_newer_models_get_the_limit_under_its_newer_name(server: FaultServer) -> None:
    server.max_tokens = "max_completion_tokens"
    chat = OpenAIChat("m", concurrency=1)
    answers = chat.generate([GenerateRequest(says(text), 0) for text in "abc"], Sampling(1.0, 8))
    assert [answer.text for answer in answers if isinstance(answer, Generation)] == [f"reply to {t}" for t in "abc"]
    assert sum(server.asked.values()) == 4, "the refusal is met once"


# --- what the endpoint can do ---


@pytest.mark.parametrize(
    ("lists", "holds", "reading"),
    [(20, True, "logprobs"), (5, True, "logprobs"), (0, True, "choices"), (0, False, "text")],
)
def test_the_surest_reading_is_found_once(server: FaultServer, lists: int, holds: bool, reading: str) -> None:
    server.lists, server.holds = lists, holds
    chat = OpenAIChat("m")
    assert chat.reading == reading
    asked = sum(server.asked.values())
    assert asked <= 3 and chat.reading == reading and sum(server.asked.values()) == asked
    (answer,) = chat.option_logprobs([OptionRequest(says("x"), ("A", "B"))])
    if reading == "logprobs":
        assert isinstance(answer, OptionLogprobs) and server.bodies[-1]["top_logprobs"] == lists
    else:
        assert isinstance(answer, Failure) and "no log-probabilities" in answer.reason
    (text,) = chat.generate([GenerateRequest(says("x"), 0, ("B", "A"))], Sampling(1.0, 8))
    expected = "B" if reading == "choices" else "reply to x"
    assert text == Generation(expected, True, 1, Usage(11, 1))


def test_a_list_without_an_entry_for_the_drawn_token_is_still_a_list(server: FaultServer) -> None:
    (answer,) = OpenAIChat("m").option_logprobs([OptionRequest(says("x"), ("B", "A"))])
    assert isinstance(answer, OptionLogprobs)
    assert math.exp(answer.logprobs[1]) == pytest.approx(p_of_a("x"))


@pytest.mark.parametrize("splits", [False, True])
def test_scores_are_read_only_where_ten_is_a_token_of_its_own(server: FaultServer, splits: bool) -> None:
    server.splits = splits
    (answer,) = OpenAIChat("m").option_logprobs([OptionRequest(says("Rate this from 1 to 10."), SCORES)])
    if splits:
        assert isinstance(answer, Failure) and "'10'" in answer.reason
    else:
        assert isinstance(answer, OptionLogprobs)
        assert [math.exp(answer.logprobs[i]) for i in (9, 1, 0)] == pytest.approx([0.6, 0.39, 1e-5])


# --- lists of the likeliest tokens ---


def entries(**probabilities: float) -> list[Entry]:
    return [Entry(token=token.replace("_", " "), logprob=math.log(p)) for token, p in probabilities.items()]


def test_spellings_add_up() -> None:
    read = from_list(entries(A=0.5, _A=0.2, B=0.2, a=0.05), ("A", "B"))
    assert [math.exp(x) for x in read] == pytest.approx([0.7, 0.2])


def test_an_option_off_the_list_gets_the_bound_where_the_bound_is_small() -> None:
    read = from_list(entries(A=0.999, The=2e-4, An=1e-4), ("A", "B"))
    assert [math.exp(x) for x in read] == pytest.approx([0.999, 1e-4])


@pytest.mark.parametrize(
    ("listed", "options"),
    [
        (entries(A=0.9, The=0.05), ("A", "B")),  # B may have up to 0.05
        (entries(The=0.5, Well=1e-5), ("A", "B")),  # the model says something else
        (entries(A=0.9, The=4e-4), ("A", "B", "C", "D")),  # three that may have 4e-4 each
        ([], ("A", "B")),
        ([*entries(A=0.9), Entry(token="B", logprob=-9999.0)], ("A", "B")),
    ],
)
def test_otherwise_it_is_a_failure(listed: list[Entry], options: tuple[str, ...]) -> None:
    with pytest.raises(Unusable):
        from_list(listed, options)


# --- options of several tokens ---


def test_a_shorter_option_does_not_count_what_goes_on_to_a_longer_one() -> None:
    """P(1) = 0.5, then 0 with 0.4, then 0 again with 0.1: 0.3 is "1", 0.18 "10", 0.02 "100"."""
    one, zero = 1, 2
    spelled = Spelling((((one,),), ((one, zero),), ((one, zero, zero),)))
    assert spelled.prefixes() == ((), (one,), (one, zero)) and spelled.after((one,)) == (zero,)
    read = {(): {one: math.log(0.5)}, (one,): {zero: math.log(0.4)}, (one, zero): {zero: math.log(0.1)}}
    assert [math.exp(x) for x in from_paths(spelled, read)] == pytest.approx([0.3, 0.18, 0.02])


def test_a_tokenizers_ways_to_write_an_option() -> None:
    """Byte-level BPE has the option with and without its space; sentencepiece shows the latter after a bracket."""
    bpe = {
        "A": Tokens(tokens=[5], token_strs=["A"]),
        " A": Tokens(tokens=[6], token_strs=["ĠA"]),
        "(A": Tokens(tokens=[9, 5], token_strs=["(", "A"]),
    }
    assert openai_wire.spelling(("A",), bpe) == Spelling((((5,), (6,)),))
    piece = {
        "A": Tokens(tokens=[6], token_strs=["▁A"]),
        " A": Tokens(tokens=[3, 6], token_strs=["▁", "▁A"]),
        "(A": Tokens(tokens=[8, 5], token_strs=["▁(", "A"]),
    }
    assert openai_wire.spelling(("A",), piece) == Spelling((((5,), (6,)),))
    merged = {**bpe, "(A": Tokens(tokens=[7], token_strs=["(A"])}
    assert openai_wire.spelling(("A",), merged) == Spelling((((5,), (6,)),))


def test_options_that_a_tokenizer_cannot_tell_apart_are_refused() -> None:
    unknown = Tokens(tokens=[0], token_strs=["<unk>"])
    with pytest.raises(Unusable, match="share"):
        openai_wire.spelling(("A", "B"), {before + text: unknown for text in "AB" for before in ("", " ", "(")})


# --- waiting ---


def test_retry_after_is_a_number_or_a_date() -> None:
    def header(text: str) -> float | None:
        return openai_http.retry_after({"retry-after": text})

    soon = header(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert soon is not None and 85 < soon <= 90
    assert header("2.5") == 2.5 and header("-3") == 0
    assert header("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [header(text) for text in ("", "soon", "nan")] == [None] * 3


def test_the_window_halves_once_a_complaint_and_grows_by_one_a_window() -> None:
    window = openai_http.Window(64)
    for _ in range(8):
        window.grow()  # before any complaint each answer adds one
    assert window.size == 16
    sent = time.monotonic()
    window.shrink(sent, None)
    window.shrink(sent, None)  # the same window's second complaint
    assert window.size == 8
    for _ in range(8):
        window.grow()
    assert 8.9 < window.size < 9
    for _ in range(9):
        window.shrink(time.monotonic(), None)
    assert window.size == 1


def test_waits_double_at_random_and_end() -> None:
    """Each is drawn between 0 and a bound that starts at half a second; the mean of 1,000 is half of it."""

    def mean(attempt: int) -> float:
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
        state.attempt_number = attempt
        return sum(openai_http._backoff(state) for _ in range(1000)) / 1000

    assert [mean(attempt) for attempt in (1, 2, 3, 30)] == pytest.approx([0.25, 0.5, 1.0, 15.0], rel=0.1)


def test_messages_of_an_endpoint_are_one_short_printable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.org/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-canary")
    text = openai_http.endpoint().clean("a\x1b[31m\n\u202eb sk-canary-canary " + "c" * 1000)
    assert text.isprintable() and len(text) == 300 and text.startswith("a [31m b [redacted] ccc")
    assert json.loads(json.dumps(text)) == text
