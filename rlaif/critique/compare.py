"""Turns a pair and a constitution into the questions that a critic answers: every principle, in both orders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rlaif.critique import templates
from rlaif.records.constitution import Constitution, Principle
from rlaif.records.files import content_hash
from rlaif.records.judgement import Order
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message

OPTIONS = ("A", "B")
ORDERS: tuple[Order, Order] = ("ab", "ba")
TEMPLATE = "critic/pairwise"


class Question(NamedTuple):
    """One judgement to be asked for: which pair, principle, wording and order, and exactly what the critic reads."""

    pair_id: str
    principle_id: str
    wording: int
    order: Order
    messages: list[Message]

    def key(self, critic: str) -> str:
        """Identity of the answer: the critic (engine and model content) and every character that it reads."""
        return content_hash(critic, OPTIONS, [m.model_dump() for m in self.messages])


def wordings(principle: Principle, *, paraphrases: bool) -> list[str]:
    """The principle's texts that are asked: its own, and its paraphrases where wanted."""
    return [principle.prefer, *(principle.paraphrases if paraphrases else [])]


def questions(pair: Pair, constitution: Constitution, *, paraphrases: bool = False) -> Iterator[Question]:
    """Every question about one pair, all principles of one order next to each other.

    They share everything up to the principle, the fence included, so an engine with prefix caching reads a pair's
    conversation and responses once per order.
    """
    template = templates.load(TEMPLATE, constitution.language)
    texts = [m.content for m in pair.messages]
    for order in ORDERS:
        first, second = pair.responses if order == "ab" else pair.responses[::-1]
        fence = templates.fence_for(order, *texts, first, second)
        for principle in constitution.principles:
            for number, text in enumerate(wordings(principle, paraphrases=paraphrases)):
                messages = templates.render(
                    template,
                    fence=fence,
                    conversation=pair.messages,
                    response_a=first,
                    response_b=second,
                    prefer=text,
                    unless=principle.unless or "",
                )
                yield Question(pair.id, principle.id, number, order, messages)
