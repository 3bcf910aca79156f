"""Asking through the store: stored first, asked once, failures never hidden."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rlaif.critique.compare import Question
from rlaif.ports import answers
from rlaif.ports.chat import Failure, GenerateRequest, Generation, OptionLogprobs, OptionRequest, Sampling
from rlaif.ports.reporter import Silent
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Message
from rlaif.records.store import AnswerStore

SAMPLING = Sampling(1.0, 8)


class Critic:
    """Counts what it is asked; fails on texts that hold `bad` while `broken`."""

    spec = "fake:model"
    digest = "d"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = True

    def option_logprobs(self, requests: Sequence[OptionRequest]) -> list[OptionLogprobs | Failure]:
        self.asked += [r.messages[0].content for r in requests]
        return [
            Failure("planted") if self.broken and "bad" in r.messages[0].content else OptionLogprobs((-0.1, -2.5))
            for r in requests
        ]

    def generate(self, requests: Sequence[GenerateRequest], sampling: Sampling) -> list[Generation | Failure]:
        self.asked += [r.messages[0].content for r in requests]
        return [
            Failure("planted")
            if self.broken and "bad" in r.messages[0].content
            else Generation(f"text {r.seed}", True, 2)
            for r in requests
        ]

    def close(self) -> None:
        return None


def questions(*texts: str) -> list[Question]:
    return [Question(f"pair-{t}", "kind", 0, "ab", [Message(role="user", content=t)]) for t in texts]


def ask(critic: Critic, store: AnswerStore, *texts: str, limit: float = 0.5) -> list[str]:
    judged, _ = answers.judgements(critic, questions(*texts), store, Silent(), what="test", max_failure_rate=limit)
    assert [j.pair_id for j in judged] == [f"pair-{t}" for t in texts]
    return [j.status for j in judged]


def test_stored_answers_are_not_asked_again_and_failures_are(tmp_path: Path) -> None:
    critic, store = Critic(), AnswerStore(tmp_path / "s.sqlite")
    assert ask(critic, store, "one", "bad", "two") == ["ok", "failed", "ok"]
    critic.asked.clear()
    critic.broken = False
    assert ask(critic, store, "one", "bad", "two", "three") == ["ok"] * 4
    assert critic.asked == ["bad", "three"]


def test_answers_survive_a_stage_that_stops(tmp_path: Path) -> None:
    critic, store = Critic(), AnswerStore(tmp_path / "s.sqlite")
    with pytest.raises(RunHalted, match=r"2 of 3 failed, more than the allowed 10%.*planted"):
        ask(critic, store, "one", "bad 1", "bad 2", limit=0.1)
    assert len(store) == 3


def test_chunks_do_not_depend_on_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "CHUNK", 2)
    critic, store = Critic(), AnswerStore(tmp_path / "s.sqlite")
    sizes: list[int] = []
    original = critic.option_logprobs

    def counting(requests: Sequence[OptionRequest]) -> list[OptionLogprobs | Failure]:
        sizes.append(len(requests))
        return original(requests)

    monkeypatch.setattr(critic, "option_logprobs", counting)
    ask(critic, store, "a", "b")
    ask(critic, store, "a", "b", "c", "d", "e")
    assert sizes == [2, 2, 1]


def test_another_critic_is_another_answer(tmp_path: Path) -> None:
    critic, store = Critic(), AnswerStore(tmp_path / "s.sqlite")
    ask(critic, store, "one")
    other = Critic()
    other.digest = "other weights"
    ask(other, store, "one")
    assert other.asked == ["one"]
    moved = Critic()
    moved.spec = "fake:elsewhere/model"  # the same weights in another folder
    ask(moved, store, "one")
    assert moved.asked == []


def test_generations_keep_their_failure(tmp_path: Path) -> None:
    critic, store = Critic(), AnswerStore(tmp_path / "s.sqlite")
    requests = [GenerateRequest([Message(role="user", content=t)], seed) for seed, t in enumerate(["one", "bad"])]
    first = answers.generations(critic, requests, SAMPLING, store, Silent(), what="t", max_failure_rate=1.0)
    assert [(w.text, w.reason) for w in first] == [("text 0", None), (None, "planted")]
    critic.broken = False
    critic.asked.clear()
    again = answers.generations(critic, requests, SAMPLING, store, Silent(), what="t")
    assert [w.text for w in again] == ["text 0", "text 1"]
    assert critic.asked == ["bad"]
    with pytest.raises(RunHalted, match="1 of 2 failed"):
        critic.broken = True
        answers.generations(critic, requests, SAMPLING._replace(max_tokens=9), store, Silent(), what="t")


def test_a_damaged_answer_is_named(tmp_path: Path) -> None:
    critic, store = Critic(), AnswerStore(tmp_path / "s.sqlite")
    ask(critic, store, "one")
    (question,) = questions("one")
    store.put({question.key("fake@d"): '{"status": "ok"}'})
    with pytest.raises(InputError, match=r"s\.sqlite: damaged answer"):
        ask(critic, store, "one")
