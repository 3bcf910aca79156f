"""Asking through the store: stored first, asked once, failures never hidden."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from rlaif.ports import answers
from rlaif.ports.answers import Asking
from rlaif.ports.chat import (
    ChatModel,
    Failure,
    GenerateRequest,
    OnAnswer,
    OptionLogprobs,
    OptionRequest,
    Sampling,
    Usage,
)
from rlaif.ports.reporter import Silent
from rlaif.records.answer import Answer
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Message
from rlaif.records.store import AnswerStore
from tests.ports.asked import FakeChat

SAMPLING = Sampling(1.0, 8)


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(tmp_path / "s.sqlite")


class Breaking(FakeChat):
    """Fails on texts that hold `bad` while `broken`."""

    def __init__(self) -> None:
        super().__init__(
            lambda text: "planted" if self.broken and "bad" in text else (-0.1, -2.5),
            lambda r: Failure("planted") if self.broken and "bad" in r.messages[0].content else f"text {r.seed}",
        )
        self.broken = True


def asking(model: ChatModel, store: AnswerStore, limit: float = 0.5) -> Asking:
    return Asking(model, store, Silent(), what="test", max_failure_rate=limit)


def option(text: str, *options: str) -> OptionRequest:
    return OptionRequest([Message(role="user", content=text)], options or ("A", "B"))


def ask(model: ChatModel, store: AnswerStore, *texts: str) -> list[Answer]:
    return asking(model, store).options([option(text) for text in texts])


def test_stored_answers_are_not_asked_again_and_failures_are(store: AnswerStore) -> None:
    model = Breaking()
    assert [a.reason for a in ask(model, store, "one", "bad", "two")] == [None, "planted", None]
    model.asked.clear()
    model.broken = False
    again = asking(model, store)
    assert all(a.logprobs == (-0.1, -2.5) for a in again.options([option(t) for t in ("one", "bad", "two", "three")]))
    assert model.asked == ["bad", "three"]
    assert (again.cached, again.asked, again.failed) == (2, 2, 0)


def test_a_text_that_comes_twice_is_asked_once(store: AnswerStore) -> None:
    model = FakeChat()
    assert len(ask(model, store, "one", "two", "one")) == 3
    assert model.asked == ["one", "two"]


def test_the_whole_conversation_the_options_and_the_weights_are_the_question(store: AnswerStore) -> None:
    model = FakeChat()
    ask(model, store, "one")
    asking(model, store).options([option("one", "Yes", "No")])
    opened = OptionRequest([Message(role="system", content="x"), Message(role="user", content="one")], ("A", "B"))
    asking(model, store).options([opened])
    assert model.asked == ["one"] * 3
    other = FakeChat()
    other.digest = "other weights"
    ask(other, store, "one")
    assert other.asked == ["one"]
    moved = FakeChat(spec="fake:elsewhere/model")  # the same weights in another folder
    ask(moved, store, "one")
    assert moved.asked == []


def test_an_engine_that_is_paid_has_each_answer_stored_as_it_comes(store: AnswerStore) -> None:
    class Paid(FakeChat):
        def option_logprobs(
            self, requests: Sequence[OptionRequest], on_answer: OnAnswer | None = None
        ) -> list[OptionLogprobs | Failure]:
            assert on_answer is not None
            for index in (2, 0):
                on_answer(index, OptionLogprobs((-0.5, -1.0), Usage(7, 1)))
            raise ConnectionError("the rest never came")

    with pytest.raises(ConnectionError):
        ask(Paid(), store, "one", "two", "three")
    model = FakeChat()
    found = ask(model, store, "one", "two", "three")
    assert model.asked == ["two"]
    assert [a.logprobs for a in found] == [(-0.5, -1.0), (-0.1, -2.5), (-0.5, -1.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_failure(store: AnswerStore, value: float) -> None:
    (answer,) = ask(FakeChat(lambda text: (-0.5, value)), store, "one")
    assert answer.logprobs is None and answer.reason is not None and "not finite" in answer.reason


def test_too_many_failures_stop(store: AnswerStore) -> None:
    tally = asking(FakeChat(), store, limit=0.1)
    tally.count_failures(1, 10, "planted")
    with pytest.raises(RunHalted, match=r"2 of 10 failed, more than the allowed 10%.*planted"):
        tally.count_failures(2, 10, "planted")


def test_generations_keep_their_failure(store: AnswerStore) -> None:
    model = Breaking()
    requests = [GenerateRequest([Message(role="user", content=t)], seed) for seed, t in enumerate(["one", "bad"])]
    first = answers.generations(model, requests, SAMPLING, store, Silent(), what="t", max_failure_rate=1.0)
    assert [(w.text, w.reason) for w in first] == [("text 0", None), (None, "planted")]
    model.broken = False
    model.asked.clear()
    again = answers.generations(model, requests, SAMPLING, store, Silent(), what="t")
    assert [w.text for w in again] == ["text 0", "text 1"]
    assert model.asked == ["bad"]
    with pytest.raises(RunHalted, match="1 of 2 failed"):
        model.broken = True
        answers.generations(model, requests, SAMPLING._replace(max_tokens=9), store, Silent(), what="t")


def test_blocks_of_generations_do_not_depend_on_what_is_stored(
    store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "BLOCK", 2)
    requests = [GenerateRequest([Message(role="user", content=t)], 0) for t in "abcde"]
    whole, resumed = FakeChat(), FakeChat()
    answers.generations(whole, requests, SAMPLING, AnswerStore(store.path.with_name("w")), Silent(), what="t")
    answers.generations(resumed, requests[:2], SAMPLING, store, Silent(), what="t")
    answers.generations(resumed, requests, SAMPLING, store, Silent(), what="t")
    assert resumed.asked == whole.asked == list("abcde")


def test_a_damaged_answer_is_named(store: AnswerStore) -> None:
    model = FakeChat()
    ask(model, store, "one")
    store.put({asking(model, store).option_key(option("one")): '{"status": "ok"}'})
    with pytest.raises(InputError, match=r"s\.sqlite: damaged answer"):
        ask(model, store, "one")
