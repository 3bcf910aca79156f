"""A critic measured against known choices."""

from __future__ import annotations

from pydantic import Field

from rlaif.records.base import Record


class Interval(Record):
    """A proportion with its 95 % Wilson score interval; all None where there is nothing to count."""

    value: float | None
    low: float | None
    high: float | None
    n: int = Field(ge=0)


class Agreement(Record):
    """A critic measured against choices. `failed` pairs count in no other figure."""

    pairs: int
    failed: int
    accuracy: Interval  # ties (p = 0.5 exactly) count one half
    swap_consistency: Interval
    first_position: float | None  # mean P(option A); 0.5 is unbiased
    ece: float | None
    by_principle: dict[str, Interval]
