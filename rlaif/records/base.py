"""The base of every record: strict, frozen, and nothing unknown allowed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A row or file that rlaif writes. Unknown fields, wrong types, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
