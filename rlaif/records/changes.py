"""How two constitutions differ, in their text and in the labels of the same pairs: `rlaif constitution diff`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlaif.records.agreement import Interval
from rlaif.records.base import Record


class Change(Record):
    """One principle or axis that is not the same in both constitutions.

    `details` says what changed, in words. Where `asks`, the critic reads something new; where `relabels`, labels may
    change.
    """

    what: Literal["principle", "axis"]
    id: str  # its name in the second constitution; in the first, where it was removed
    before: str | None  # the name that it had in the first, where there was one
    kind: Literal["added", "removed", "renamed", "changed"]
    details: list[str]
    asks: bool
    relabels: bool

    @property
    def name(self) -> str:
        """What tables call it: an axis and a principle may share a name."""
        return f"axis {self.id}" if self.what == "axis" else self.id


class Effect(Record):
    """What one change did to the labels: they are computed under the second constitution with this change undone.

    `decides` counts the flips that this change contributes most to, `needed` the flips that are gone when it is undone,
    and `shift` is the mean distance |P - P with it undone| over the pairs that have both (None where there are none).
    """

    change: str
    decides: int
    needed: int
    shift: float | None


class ChangedPair(Record):
    """A pair whose P(first is better) moved from `a` to `b`, and the change that contributes most to it."""

    id: str
    prompt: str  # its last user turn, shortened
    a: float = Field(ge=0, le=1)
    b: float = Field(ge=0, le=1)
    flipped: bool
    deciding: str | None  # None where no single change moves it that way


class Measured(Record):
    """Labels of the same pairs under both. Pairs without a label under either are in `without` alone."""

    pairs: int
    without: int
    undecided: int  # P is exactly one half under at least one of the two: nobody won, so nothing can flip
    flipped: Interval  # of the pairs with both labels, the share in which the other response wins
    shift: float | None  # mean |P(b) - P(a)|
    effects: list[Effect]
    changed: list[ChangedPair]  # flipped ones first, by |P(b) - P(a)|, largest first


class ConstitutionDiff(Record):
    """`diff.json`. `measured` is None where nothing was asked: no change can change a label, or there are no pairs."""

    a: str
    b: str
    critic: str | None  # None where the texts alone were compared
    changes: list[Change]
    same: int  # principles that are the same in both
    measured: Measured | None
