"""Modes of asking: what is sent, what becomes of the answers, and what a failure leaves behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from rlaif.critique.compare import Question
from rlaif.ports import judging
from rlaif.ports.answers import Asking
from rlaif.ports.chat import Failure, GenerateRequest, Sampling
from rlaif.ports.judging import Reading, choose
from rlaif.ports.reporter import Silent
from rlaif.records.judgement import Judgement
from rlaif.records.prompt import Message
from rlaif.records.store import AnswerStore
from tests.ports.asked import FakeChat

LOGPROB, VOTES, COT = Reading("logprob"), Reading("votes", samples=4), Reading("cot", max_tokens=64)

Ask = Callable[..., list[Judgement]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Judge questions with a model, through one store."""
    store = AnswerStore(tmp_path / "s.sqlite")

    def judge(model: FakeChat, reading: Reading, *questions: Question) -> list[Judgement]:
        asking = Asking(model, store, Silent(), what="test", max_failure_rate=0.5)
        return judging.judge(asking, questions, reading)

    return judge


def comparison(text: str, then: str | None = None) -> Question:
    messages = [Message(role="user", content=text)]
    return Question(f"pair {text}", "kind", "content", 0, "compare", "ab", None, messages, then)


def check(text: str) -> Question:
    return comparison(text)._replace(form="check", response=0)


def test_log_probabilities_are_read_as_they_come(ask: Ask) -> None:
    model = FakeChat(lambda text: "no answer" if text == "bad" else (-0.2, -2.3))
    one, bad = ask(model, LOGPROB, comparison("one"), comparison("bad"))
    assert (one.pair_id, one.critic, one.mode, one.logprobs) == ("pair one", "fake:model", "logprob", (-0.2, -2.3))
    assert (bad.status, bad.reason) == ("failed", "no answer")
    assert model.calls == [2]


def test_what_is_stored_is_asked_of_nobody_and_judged_the_same(ask: Ask) -> None:
    questions = [comparison("one", "Answer."), check("two")]
    for reading in (LOGPROB, VOTES, COT, COT._replace(rationales=3)):
        first, second = FakeChat(write=lambda r: "Yes" if r.choices else "A, I think"), FakeChat()
        judged = ask(first, reading, *questions)
        assert ask(second, reading, *questions) == judged
        assert first.asked and not second.asked


def test_votes_are_drawn_with_as_many_seeds_and_held_to_the_options(ask: Ask) -> None:
    model = FakeChat(write=lambda r: r.choices[0], reading="choices")
    compared, checked = ask(model, VOTES, comparison("one"), check("two"))
    assert (compared.votes, checked.votes) == ((4, 0), (4, 0))
    assert compared.mode == "votes" and compared.logprobs is None
    assert [r.choices for r in model.requests] == [("A", "B")] * 4 + [("Yes", "No")] * 4
    assert len({r.seed for r in model.requests}) == 8
    assert model.samplings == [Sampling(1.0, 8)]


def test_votes_without_choices_are_free_text_that_is_parsed(ask: Ask) -> None:
    replies = iter(["Answer: B", "B", "Both are fine.", "I say A. Answer: A"])
    model = FakeChat(write=lambda r: next(replies), reading="text")
    (judged,) = ask(model, VOTES, comparison("one"))
    assert (judged.votes, judged.outside) == ((1, 2), 0.25)
    assert {r.choices for r in model.requests} == {()}
    assert model.samplings == [Sampling(1.0, 512)]


def test_votes_that_failed_are_no_votes(ask: Ask) -> None:
    model = FakeChat(write=lambda r: Failure("timed out"), reading="choices")
    (judged,) = ask(model, VOTES, comparison("one"))
    assert judged.status == "failed" and judged.votes is None
    assert judged.reason == "4 of 4 replies named no single option: timed out"


def test_a_rationale_is_the_critics_own_turn_before_the_answer(ask: Ask) -> None:
    seen: list[str] = []
    model = FakeChat(lambda text: seen.append(text) or (-0.2, -2.3), lambda r: "First is kinder.")  # type: ignore[func-returns-value]
    reasoned, plain = ask(model, COT, comparison("one", "Which? A or B."), check("two"))
    assert (reasoned.mode, reasoned.rationale, reasoned.logprobs) == ("cot", ("First is kinder.",), (-0.2, -2.3))
    assert (plain.mode, plain.rationale) == ("logprob", ())
    assert seen == ["two", "Which? A or B."]
    assert model.samplings == [Sampling(0.0, 64)]


def test_another_rationale_is_another_question(ask: Ask) -> None:
    question = comparison("one", "Which?")
    (first,) = ask(FakeChat(write=lambda r: "because"), COT, question)
    other = FakeChat(write=lambda r: "although")
    other.digest = "other weights"
    (second,) = ask(other, COT, question)
    assert first.key != second.key
    assert second.rationale == ("although",)


def test_several_rationales_average_their_probabilities(ask: Ask) -> None:
    answers = iter([(math.log(0.9), math.log(0.1)), (math.log(0.3), math.log(0.5)), (math.log(0.6), math.log(0.4))])
    model = FakeChat(lambda text: next(answers), lambda r: f"reason {r.seed}")
    (judged,) = ask(model, COT._replace(rationales=3), comparison("one", "Which?"))
    assert [math.exp(x) for x in judged.logprobs or ()] == pytest.approx([0.6, 1 / 3])
    assert judged.outside == pytest.approx(0.2 / 3)
    assert len(set(judged.rationale)) == 3
    assert model.samplings == [Sampling(0.7, 64)]


@pytest.mark.parametrize("rationale", [Failure("timed out"), ""], ids=["failed", "empty"])
def test_without_its_rationale_a_judgement_is_missing(ask: Ask, rationale: str | Failure) -> None:
    def write(request: GenerateRequest) -> str | Failure:
        return rationale if request.seed == 1 else "a reason"

    model = FakeChat(write=write)
    (judged,) = ask(model, COT._replace(rationales=2), comparison("one", "Which?"))
    assert judged.status == "failed" and judged.logprobs is None
    assert judged.reason == ("timed out" if isinstance(rationale, Failure) else "the critic wrote an empty rationale")
    assert judged.rationale == ("a reason", "")


def test_a_slot_that_fails_after_its_rationale_fails_the_judgement(ask: Ask) -> None:
    (judged,) = ask(FakeChat(lambda text: "overloaded"), COT, comparison("one", "Which?"))
    assert (judged.status, judged.reason, judged.mode) == ("failed", "overloaded", "cot")
    assert judged.rationale == ("text 0",)


def test_rationales_without_log_probabilities_end_in_votes(ask: Ask) -> None:
    replies = iter(["A", "B", "A", "neither", "A", "A"])
    model = FakeChat(
        write=lambda r: next(replies) if r.messages[-1].content == "Which?" else f"reason {r.seed}", reading="text"
    )
    reading = COT._replace(samples=3, rationales=2)
    (judged,) = ask(model, reading, comparison("one", "Which?"))
    assert (judged.mode, judged.votes) == ("cot", (4, 1))
    assert judged.outside == pytest.approx(1 / 6)


def test_the_mode_is_the_surest_that_the_engine_has() -> None:
    assert choose("auto", FakeChat()) == ("logprob", None)
    assert choose("logprob", FakeChat()) == ("logprob", None)
    assert choose("cot", FakeChat()) == ("cot", None)
    assert choose("votes", FakeChat(reading="text")) == ("votes", None)


@pytest.mark.parametrize(("reading", "words"), [("choices", "constrained to the options"), ("text", "parsed")])
def test_a_second_best_mode_is_said_aloud(reading: Literal["choices", "text"], words: str) -> None:
    for wanted in ("auto", "logprob"):
        mode, note = choose(wanted, FakeChat(reading=reading))
        assert mode == "votes" and note is not None and words in note and "fake:model" in note
    mode, note = choose("cot", FakeChat(reading=reading))
    assert mode == "cot" and note is not None and words in note
