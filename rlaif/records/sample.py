"""Samples and revisions: what models wrote."""

from __future__ import annotations

from pydantic import Field

from rlaif.records.base import Record
from rlaif.records.prompt import Prompt


class Sample(Record):
    """The responses that one model drew for one prompt. A response that failed is absent and counted in `failed`."""

    prompt: Prompt
    responses: list[str]
    finished: list[bool]  # whether each response ended by itself, not by the token budget
    failed: int = Field(ge=0)


class Round(Record):
    """One critique and the revision that follows it, under one principle."""

    principle_id: str
    critique: str
    response: str


class Revision(Record):
    """A response on its way through the rounds of critique and revision (arXiv 2212.08073 §3.1)."""

    prompt: Prompt
    initial: str
    rounds: list[Round]
