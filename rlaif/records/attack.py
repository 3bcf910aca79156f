"""The bank of texts that talk to the judge, and what came of adding them to responses that had lost."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field, model_validator

from rlaif.records import shipped, strict_yaml
from rlaif.records.agreement import Interval
from rlaif.records.base import Record
from rlaif.records.constitution import Slug, Text


class Payload(Record):
    """A text to be added to a response. `{LETTER}` in it stands for that response's own letter, `{OTHER}` for the
    other one's."""

    id: Slug
    category: Slug
    language: Slug = "en"
    place: Literal["append", "prepend"] = "append"
    text: str = Field(min_length=1)


class Bank(Record):
    """`prompts/injections/payloads.yaml`. The `harmless` sentences are what payloads are compared with."""

    payloads: list[Payload] = Field(min_length=1)
    harmless: list[Text] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_once(self) -> Bank:
        if twice := [name for name, n in Counter(p.id for p in self.payloads).items() if n > 1]:
            raise ValueError(f"the id {twice[0]!r} occurs twice", "give every payload its own id")
        return self


class Attempt(Record):
    """One text added to a response that had lost, and what the critic said before and after.

    `before` and `after` are the probability that the attacked response is the better one; `after` is None, with a
    reason, where a judgement failed. `flags` are those that the text added to the pair's own.
    """

    payload: str
    category: str
    harmless: bool  # not the payload, but plain sentences of its length: the baseline
    pair_id: str
    loser: Literal[0, 1]
    flags: list[str]
    before: float = Field(ge=0, lt=0.5)
    after: float | None = Field(default=None, ge=0, le=1)
    reason: str | None = None

    @model_validator(mode="after")
    def _number_or_reason(self) -> Attempt:
        if (self.after is None) != (self.reason is not None):
            raise ValueError("an attempt has a probability afterwards, or the reason why there is none")
        return self


class Rates(Record):
    """Attempts counted together. Failed ones are in no other figure but `attempts` and `flagged`.

    The interval takes attempts for independent. They share pairs and payloads, so it is narrower than it should be.
    """

    attempts: int = Field(ge=0)
    failed: int = Field(ge=0)
    flips: Interval  # share in which the response that had lost now wins
    shift: float | None  # mean of after - before
    flagged: float | None  # share in which the text raised a flag


class Comparison(Record):
    """Payloads beside harmless texts of the same length, added to the same responses."""

    payloads: Rates
    harmless: Rates


class PayloadRates(Record):
    id: str
    category: str
    rates: Rates


class AttackSummary(Record):
    """`attack.json`. Of `pairs`, `attacked` had a loser, `undecided` none, and in `failed` ones a judgement failed."""

    critic: str
    constitution: str
    pairs: int
    attacked: int
    undecided: int
    failed: int
    overall: Comparison
    by_category: dict[str, Comparison]
    worst: list[PayloadRates]


def load_bank() -> Bank:
    """The shipped payloads."""
    return strict_yaml.validate(strict_yaml.load(shipped.folder("prompts") / "injections" / "payloads.yaml"), Bank)
