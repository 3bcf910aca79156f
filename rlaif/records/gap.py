"""The generator-discriminator gap: samples of one prompt held against each other, by a critic and by a judge."""

from __future__ import annotations

from pydantic import Field

from rlaif.records.audit import Figure
from rlaif.records.base import Record
from rlaif.records.prompt import Prompt


class GapPair(Record):
    """Two different texts of a row, by their places in `texts`. None: a judgement is missing.

    critic: P(first is better). judge: 1 the first is better, 0 the second, one half neither.
    """

    first: int = Field(ge=0)
    second: int = Field(ge=0)
    critic: float | None = Field(default=None, ge=0, le=1)
    judge: float | None = Field(default=None, ge=0, le=1)


class GapRow(Record):
    """A row of `gap.jsonl`: a prompt, a model's samples, and what was said of every two different texts among them."""

    model: str
    prompt: Prompt
    samples: list[int] = Field(min_length=2)  # the text of each sample, by its place in `texts`
    texts: list[str] = Field(min_length=1)
    scores: list[dict[str, float]]  # a scorer's, of each text; empty where a model is the judge
    pairs: list[GapPair]


class GapLine(Record):
    """One measure of a reply, under three ways to get it. Every prompt counts the same, and `n` is of prompts.

    one: a single sample. picked: of the prompt's samples the one that the critic picks. best: the one that the judge
    picks. gap: picked - one. closed: the gap as a share of best - one.
    """

    name: str
    one: Figure
    picked: Figure
    best: Figure
    gap: Figure
    closed: Figure


class GapModel(Record):
    """What was measured of one model.

    discrimination: of two samples of which the judge finds one better, how often the critic finds the same one better.
    pairs: of two different texts; `ties` and `unjudged` are those in which the judge finds neither better or cannot
        say, `uncompared` those of which the critic says nothing.
    """

    model: str
    spec: str
    prompts: int  # with samples
    unsampled: int  # prompts that a failed sample left out
    incomplete: int  # prompts that a missing judgement left out of `lines`
    pairs: int
    ties: int
    unjudged: int
    uncompared: int
    failed: int  # judgements, of the critic and of a judge that is a model
    discrimination: Figure
    lines: list[GapLine]


class Gap(Record):
    """`gap.json`."""

    critic: str
    judge: str
    constitution: str
    samples: int
    temperature: float
    models: list[GapModel]
