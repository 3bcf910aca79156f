"""Every fault of an endpoint: nothing is lost, nothing is paid twice, and no fault becomes a number."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlaif.engines.chat import openai_http
from rlaif.engines.chat.openai_compatible import OpenAIChat
from rlaif.ports import interrupt
from rlaif.ports.budget import Budget, BudgetSpent, parse_price
from rlaif.ports.chat import Failure, GenerateRequest, Generation, OptionLogprobs, OptionRequest, Sampling, Usage
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Message
from tests.faults.endpoint import FIELDS, PASSING, PROBE, FaultServer, p_of_a, random_faults

KEY = "sk-canary-5f2d9c1b7a"
BILL = Usage(11, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_http, "BACKOFF", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with FaultServer().running() as one:
        monkeypatch.setenv("OPENAI_BASE_URL", one.url)
        yield one


def ask(text: str) -> OptionRequest:
    return OptionRequest([Message(role="user", content=text)], ("A", "B"))


def write(text: str) -> GenerateRequest:
    return GenerateRequest([Message(role="user", content=text)], 0)


def asks(number: int) -> list[OptionRequest]:
    return [ask(f"question {i}") for i in range(number)]


def check_honest(request: OptionRequest, answer: OptionLogprobs | Failure) -> None:
    assert isinstance(answer, OptionLogprobs), answer
    a = p_of_a(request.messages[-1].content)
    assert [math.exp(x) for x in answer.logprobs] == pytest.approx([a, 0.99 - a])
    assert answer.usage == BILL


@pytest.mark.parametrize("concurrency", [1, 64])
def test_thirty_percent_faults_lose_invent_and_double_nothing(
    server: FaultServer, concurrency: int, tmp_path: Path
) -> None:
    server.plan = random_faults(0.3, seed=concurrency)
    budget = Budget(tmp_path / "cost", parse_price("1/1"), 1.0)
    chat = OpenAIChat("m", concurrency=concurrency, attempts=12, budget=budget)
    requests, handed = asks(300), dict[int, object]()
    answers = chat.option_logprobs(requests, lambda index, answer: handed.update({index: answer}))
    for request, answer in zip(requests, answers, strict=True):
        check_honest(request, answer)
    assert handed == dict(enumerate(answers))
    assert sum(server.asked.values()) > 360, "the faults were not injected"
    assert {server.billed[r.messages[0].content] for r in requests} == {1}
    assert server.most_active <= concurrency
    found = budget.summary()
    assert found.requests == 301 and found.prompt_tokens == 301 * BILL.prompt_tokens  # and one probe
    # What may have been billed stays reserved: a connection that broke, an answer that cannot be read.
    assert found.open_requests == server.faults["reset"] + server.faults["html"]


def test_concurrency_changes_no_answer(server: FaultServer) -> None:
    server.delay = 0.01
    one, many = (OpenAIChat("m", concurrency=n).option_logprobs(asks(100)) for n in (1, 64))
    assert one == many
    assert server.most_active > 4


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_waited_out(server: FaultServer, fault: str) -> None:
    server.plan = lambda text, before: fault if before < 2 and text != PROBE else None
    (answer,) = OpenAIChat("m").option_logprobs([ask("x")])
    check_honest(ask("x"), answer)
    assert server.asked["x"] == 3 and server.billed["x"] == 1


@pytest.mark.parametrize("fault", [*PASSING, "cut"])
def test_a_fault_that_stays_is_a_failure_of_that_row(server: FaultServer, fault: str) -> None:
    server.plan = lambda text, before: fault if text == "bad" else None
    before, failed, after = OpenAIChat("m", attempts=3).option_logprobs([ask("x"), ask("bad"), ask("y")])
    check_honest(ask("x"), before)
    check_honest(ask("y"), after)
    assert isinstance(failed, Failure) and failed.reason
    assert server.asked["bad"] == 3


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_deadline_holds_however_slowly_bytes_come(server: FaultServer, fault: str) -> None:
    server.plan = lambda text, before: fault if text == "bad" else None
    chat = OpenAIChat("m", timeout=1.0)
    assert chat.reading == "logprobs"
    begun = time.monotonic()
    failed, answer = chat.option_logprobs([ask("bad"), ask("x")])
    assert 0.9 < time.monotonic() - begun < 2.5
    check_honest(ask("x"), answer)
    assert isinstance(failed, Failure) and "no complete answer" in failed.reason
    assert server.asked["bad"] == 2


def test_a_slow_answer_is_asked_again(server: FaultServer) -> None:
    server.plan = lambda text, before: "hang" if text == "x" and before == 0 else None
    (answer,) = OpenAIChat("m", timeout=1.0).option_logprobs([ask("x")])
    check_honest(ask("x"), answer)


@pytest.mark.parametrize("fault", ["400", "too long", "413", "422"])
def test_a_refused_row_fails_alone_and_is_asked_once(server: FaultServer, fault: str, tmp_path: Path) -> None:
    server.plan = lambda text, before: fault if text == "bad" else None
    budget = Budget(tmp_path / "cost", parse_price("1/1"))
    before, failed, after = OpenAIChat("m", budget=budget).option_logprobs([ask("x"), ask("bad"), ask("y")])
    check_honest(ask("x"), before)
    check_honest(ask("y"), after)
    assert isinstance(failed, Failure) and server.asked["bad"] == 1
    assert failed.reason.isprintable() and len(failed.reason) < 400
    assert "4096" in failed.reason or fault != "too long"
    assert budget.summary().open_requests == 0 and budget.summary().requests == 3


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("401", InputError, "OPENAI_API_KEY"),
        ("403", InputError, "OPENAI_API_KEY"),
        ("404", InputError, "does not exist"),
        ("redirect", InputError, "redirect to http://127.0.0.2"),
        ("quota", RunHalted, "quota"),
        ("402", RunHalted, "Insufficient balance"),
        ("429 for hours", RunHalted, "7200"),
    ],
)
def test_what_every_request_would_meet_stops_at_once(
    server: FaultServer, fault: str, kind: type[Exception], says: str
) -> None:
    server.plan = lambda text, before: fault if text == "question 20" else None
    server.delay = 0.02
    handed: list[int] = []
    with pytest.raises(kind, match=says):
        OpenAIChat("m", concurrency=4).option_logprobs(asks(200), lambda index, answer: handed.append(index))
    assert server.asked["question 20"] == 1
    assert sum(server.asked.values()) < 40, "requests went on being sent"
    # Everything that was paid for came out.
    assert sorted(handed) == sorted(i for i in range(200) if server.billed[f"question {i}"])


@pytest.mark.parametrize(
    "fault", [name for name in FIELDS if name not in ("null", "list", "nul", "surrogate", "filtered")]
)
def test_no_spoilt_answer_becomes_a_number(server: FaultServer, fault: str) -> None:
    server.plan = lambda text, before: fault if text == "bad" else None
    failed, answer = OpenAIChat("m").option_logprobs([ask("bad"), ask("x")])
    check_honest(ask("x"), answer)
    assert isinstance(failed, Failure) and failed.reason, failed
    assert failed.usage == BILL, "what a useless answer cost is counted"
    assert server.asked["bad"] == 1, "a useless answer was paid for again"


@pytest.mark.parametrize("fault", ["no choices", "choices of text", "null", "list", "nul", "surrogate", "filtered"])
def test_no_spoilt_answer_becomes_a_text(server: FaultServer, fault: str) -> None:
    server.plan = lambda text, before: fault if text == "bad" else None
    failed, answer = OpenAIChat("m").generate([write("bad"), write("x")], Sampling(1.0, 8))
    assert answer == Generation("reply to x", True, 1, BILL)
    assert isinstance(failed, Failure) and failed.reason and failed.reason.isprintable(), failed
    assert failed.usage == BILL and server.asked["bad"] == 1


@pytest.mark.parametrize("fault", [*PASSING, "nan", "above 1"])
def test_faults_do_not_decide_the_reading(server: FaultServer, fault: str) -> None:
    server.plan = lambda text, before: fault if text == PROBE and before < 2 else None
    assert OpenAIChat("m").reading == "logprobs"


def test_an_endpoint_that_never_answers_stops_before_anything_is_read(
    server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.plan = lambda text, before: "503"
    with pytest.raises(RunHalted, match="does not answer"):
        OpenAIChat("m", attempts=3).option_logprobs(asks(5))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("rlaif")]
    assert len(said) == 2 and all("waiting for http://127.0.0.1" in line and "503" in line for line in said)


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(RunHalted, match="does not answer"):
        OpenAIChat("m", attempts=2).generate([write("x")], Sampling(1.0, 8))


def test_retry_after_is_honoured_by_everybody(server: FaultServer) -> None:
    server.plan = lambda text, before: "429 after 1" if text == "question 3" and before == 0 else None
    server.delay = 0.05
    chat = OpenAIChat("m", concurrency=4)
    assert chat.reading == "logprobs"
    for request, answer in zip(asks(40), chat.option_logprobs(asks(40)), strict=True):
        check_honest(request, answer)
    gaps = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert max(gaps) > 0.85, "somebody asked while the endpoint wanted rest"
    assert sum(gap > 0.5 for gap in gaps) == 1


def test_the_window_halves_when_told_and_grows_again(server: FaultServer) -> None:
    """An endpoint that takes ten at once: the client finds that out, and everything is answered."""
    server.most = 10
    server.delay = 0.02
    answers = OpenAIChat("m", concurrency=64, attempts=12).option_logprobs(asks(300))
    for request, answer in zip(asks(300), answers, strict=True):
        check_honest(request, answer)
    refused = server.faults["429"]
    assert 0 < refused < 150, f"{refused} of 300 requests came too early"


def test_the_key_is_nowhere_but_in_the_header(
    server: FaultServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.plan = lambda text, before: {"bad": "echo in the error", "echo": "echo"}.get(text)
    budget = Budget(tmp_path / "cost", parse_price("1/1"))
    chat = OpenAIChat("m", budget=budget)
    failed, echoed = chat.generate([write("bad"), write("echo")], Sampling(1.0, 8))
    assert isinstance(failed, Failure) and "[redacted]" in failed.reason
    assert isinstance(echoed, Generation) and echoed.text == "you sent Bearer [redacted]"
    assert all(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
    shown = [repr(vars(chat)), chat.spec, chat.digest, caplog.text, repr(failed), repr(echoed), repr(server.bodies)]
    assert not any(KEY in text for text in shown)
    assert not any(KEY.encode() in file.read_bytes() for file in tmp_path.iterdir())


def test_ctrl_c_drains(server: FaultServer) -> None:
    """No new request, those in flight are handed over, then KeyboardInterrupt."""
    server.delay = 0.1
    handed: list[int] = []

    def stop_soon(index: int, answer: object) -> None:
        handed.append(index)
        if len(handed) == 6:
            signal_self()

    said: list[str] = []
    with pytest.raises(KeyboardInterrupt), interrupt.draining(said.append):
        OpenAIChat("m", concurrency=4).option_logprobs(asks(200), stop_soon)
    assert len(said) == 1 and not interrupt.requested()
    assert 6 <= len(handed) <= 6 + 4
    assert sorted(handed) == sorted(i for i in range(200) if server.billed[f"question {i}"])


def test_ctrl_c_does_not_wait_for_a_retry(server: FaultServer) -> None:
    server.plan = lambda text, before: "429 after 30" if text != PROBE else None
    chat = OpenAIChat("m", concurrency=4)
    assert chat.reading == "logprobs"
    begun = time.monotonic()
    threading.Timer(0.3, signal_self).start()
    with pytest.raises(KeyboardInterrupt), interrupt.draining(lambda text: None):
        chat.option_logprobs(asks(20))
    assert time.monotonic() - begun < 2


def test_a_second_ctrl_c_stops_at_once(server: FaultServer) -> None:
    server.plan = lambda text, before: "hang" if text != PROBE else None
    begun = time.monotonic()
    threading.Timer(0.5, signal_self).start()
    threading.Timer(0.8, signal_self).start()
    with pytest.raises(KeyboardInterrupt), interrupt.draining(lambda text: None):
        OpenAIChat("m").option_logprobs(asks(4))
    assert time.monotonic() - begun < 3


def test_a_spent_budget_sends_nothing_more_and_hands_over_what_was_paid(server: FaultServer, tmp_path: Path) -> None:
    price = parse_price("1/0")
    worst = 10 + 16 + 256  # the bytes of "question 0", and what templates may add, in tokens
    limit = 20 * worst / 10**6
    handed: list[int] = []
    with pytest.raises(BudgetSpent, match="cost limit"):
        chat = OpenAIChat("m", concurrency=4, budget=Budget(tmp_path / "cost", price, limit))
        chat.option_logprobs(asks(2000), lambda index, answer: handed.append(index))
    paid = [i for i in range(2000) if server.billed[f"question {i}"]]
    assert sorted(handed) == paid and len(paid) > 20
    found = Budget(tmp_path / "cost", price, limit).summary()
    assert found.spent <= limit and found.reserved == 0 and found.requests == len(paid) + 1
    assert found.prompt_tokens == BILL.prompt_tokens * found.requests


def test_a_disk_that_is_full_stops_the_spending(server: FaultServer) -> None:
    """What is in flight is still handed over: the next row may fit."""
    handed: list[int] = []

    def store(index: int, answer: object) -> None:
        handed.append(index)
        if len(handed) == 1:
            raise OSError("no space left on device")

    server.delay = 0.1
    with pytest.raises(OSError, match="no space"):
        OpenAIChat("m", concurrency=4).option_logprobs(asks(200), store)
    assert 1 < len(handed) <= 4
    assert sorted(handed) == sorted(i for i in range(200) if server.billed[f"question {i}"])


def signal_self() -> None:
    os.kill(os.getpid(), signal.SIGINT)
