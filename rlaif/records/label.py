"""Labels: judgements of a pair aggregated over orders, wordings and principles, per axis and overall."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlaif.records.base import Record
from rlaif.records.pair import Pair


class Vote(Record):
    """What one principle said of a pair: P(first is better) in each order, both mapped back to the same response.

    `p` is their mean; all three are None where either order has no usable judgement.
    """

    principle_id: str
    axis: str
    weight: float = Field(gt=0)
    p_ab: float | None = Field(default=None, ge=0, le=1)
    p_ba: float | None = Field(default=None, ge=0, le=1)
    p: float | None = Field(default=None, ge=0, le=1)
    failed: int = Field(ge=0)


class AxisLabel(Record):
    """The weighted mean over the axis's principles, and the share of their weight that was answered."""

    p: float | None = Field(default=None, ge=0, le=1)
    coverage: float = Field(ge=0, le=1)
    veto: str | None = None  # the principle that decided the axis alone, if one did


class Label(Record):
    """P(first is better) for a pair. `p` is None, and `weight` 0, where nothing was answered.

    `order_consistent` is None where an order is missing; False where swapping the responses changed the winner.
    `position_bias` is the mean probability given to option A, minus one half.
    """

    pair: Pair
    source: Literal["critic", "human"]
    critic: str | None
    constitution: str | None
    p: float | None = Field(default=None, ge=0, le=1)
    weight: float = Field(ge=0, le=1)
    axes: dict[str, AxisLabel]
    votes: list[Vote]
    order_consistent: bool | None = None
    position_bias: float | None = None
    flags: list[str]
