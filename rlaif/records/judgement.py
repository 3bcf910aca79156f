"""One judgement: a pair, a principle and an order, asked of one critic. The only thing that costs money."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rlaif.records.base import Record

Order = Literal["ab", "ba"]  # "ab": the pair's first response stands as option A


class Judgement(Record):
    """The critic's answer at the slot, as it came. `key` hashes everything that shaped it.

    `logprob_a`, `logprob_b` are nats over the whole vocabulary; `outside` is the probability mass on neither option.
    A failed judgement carries its reason and no number.
    """

    key: str
    pair_id: str
    principle_id: str
    wording: int = Field(ge=0)  # 0 is the principle's own text, 1.. its paraphrases
    order: Order
    status: Literal["ok", "failed"]
    logprob_a: float | None = None
    logprob_b: float | None = None
    outside: float | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _numbers_only_where_ok(self) -> Judgement:
        numbers = (self.logprob_a, self.logprob_b, self.outside)
        if self.status == "ok" and (None in numbers or self.reason is not None):
            raise ValueError("an ok judgement has both log-probabilities, the mass outside, and no reason")
        if self.status == "failed" and (any(n is not None for n in numbers) or not self.reason):
            raise ValueError("a failed judgement has a reason and no numbers")
        return self
