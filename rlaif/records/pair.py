"""Preference pairs: a conversation, two responses, and the choice somebody made, if somebody did."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from rlaif.records.base import Record
from rlaif.records.prompt import Message


class Pair(Record):
    """Two responses to one conversation. `preferred` is a human's or a data set's choice: 0 the first, 1 the second."""

    id: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    responses: tuple[str, str]
    preferred: Literal[0, 1] | None = None
    meta: dict[str, JsonValue] = Field(default_factory=dict)
