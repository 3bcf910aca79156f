"""What a person sees while a model is asked: one line, with counts, shares, tokens and money."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from rlaif.ports.answers import Asking, share, short
from rlaif.ports.budget import Budget, Price
from rlaif.ports.chat import Failure, GenerateRequest, Generation, OnAnswer, OptionRequest, Sampling, Usage
from rlaif.records.prompt import Message
from rlaif.records.store import AnswerStore
from tests.ports.asked import FakeChat


class Said:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.counts: dict[str, float | str] = {}

    def line(self, text: str) -> None:
        return None

    def progress(self, what: str, done: int, total: int, counts: dict[str, float | str] | None = None) -> None:
        self.counts = dict(counts or {})


class Billed(FakeChat):
    """Every text costs 1200 tokens of the prompt and 30 of the reply."""

    def generate(
        self, requests: Sequence[GenerateRequest], sampling: Sampling, on_answer: OnAnswer | None = None
    ) -> list[Generation | Failure]:
        return [a._replace(usage=Usage(1200, 30)) for a in super().generate(requests, sampling)]


def asking(model: FakeChat, folder: Path, said: Said) -> Asking:
    return Asking(model, AnswerStore(folder / "answers.sqlite"), said, what="pairs", max_failure_rate=1.0)


def request(text: str) -> OptionRequest:
    return OptionRequest([Message(role="user", content=text)], ("A", "B"))


def test_counts_of_several_critics_are_added(tmp_path: Path) -> None:
    said = Said()
    one = asking(FakeChat(lambda text: "broken" if text == "3" else (-0.1, -2.5), spec="fake:one"), tmp_path, said)
    two = asking(FakeChat(spec="other:two"), tmp_path, said)
    one.options([request(str(i)) for i in range(4)])
    one.options([request("0")])  # stored already
    two.options([request("0"), request("1")])
    one.progress(4, 4)
    assert said.counts == {"cached": 1, "ok": 4, "failed": "1 (20.0%)"}
    one.progress(4, 4, {"ties": "25.0%"}, others=[two])
    assert said.counts == {"cached": 1, "ok": 6, "failed": "1 (14.3%)", "ties": "25.0%"}


def test_tokens_and_money_where_there_are_any(tmp_path: Path) -> None:
    said = Said()
    own = asking(Billed(), tmp_path, said)
    free = Budget(tmp_path / "free.sqlite")
    paid = Budget(tmp_path / "paid.sqlite", Price(Decimal("0.15"), Decimal("0.60")), 2.0)
    own.progress(0, 2, budget=free)
    assert said.counts == {"cached": 0, "ok": 0, "failed": 0}
    own.texts([GenerateRequest([Message(role="user", content="x")], seed) for seed in (1, 2)], Sampling(1.0, 8))
    ticket = paid.reserve(4000, 400)
    own.progress(2, 2, budget=paid)
    assert said.counts["tokens"] == "2.4k+60"
    assert said.counts["cost"] == "$0.0008 of $2.00"  # what is reserved may have been billed
    paid.settle(ticket, Usage(2400, 60))
    own.progress(2, 2, budget=paid)
    assert said.counts["cost"] == "$0.0004 of $2.00"


def test_numbers_are_short() -> None:
    assert [short(n) for n in (0, 999, 1000, 15_360, 2_000_000, 7_100_000_000)] == [
        "0",
        "999",
        "1.0k",
        "15.4k",
        "2.0M",
        "7.1G",
    ]
    assert (share(1, 8), share(0, 3), share(0, 0)) == ("12.5%", "0.0%", "–")
