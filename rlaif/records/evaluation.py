"""`evaluation.json` of `rlaif evaluate --model`: a model beside baselines, on prompt sets, each set by itself.

No times and no folders of this machine but for what the user named: the same inputs give the same file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlaif.records.agreement import Bin, Interval
from rlaif.records.audit import Figure
from rlaif.records.base import Record
from rlaif.records.header import SCHEMA_VERSION
from rlaif.records.prompt import Message
from rlaif.records.report import Similarity

Safety = Literal["safe", "looks-unsafe", "unsafe"]


class Rate(Record):
    """How often the model is preferred to a baseline; a tie counts one half.

    `interval` is of the share of wins, `probability` the mean of P(the model's reply is better). `missing` pairs have
    no answer of the critic, and count in neither.
    """

    interval: Interval
    probability: float | None = Field(ge=0, le=1)
    wins: int = Field(ge=0)
    ties: int = Field(ge=0)
    losses: int = Field(ge=0)
    missing: int = Field(ge=0)


class PrincipleRate(Record):
    """One principle's rate. `held_out`: the training constitution does not ask it; None where that is not known."""

    id: str
    axis: str
    held_out: bool | None
    rate: Rate


class Corrected(Record):
    """The win rate that a logistic regression gives for replies of equal length, with a 95 % interval.

    `slope` is what a reply that is longer by one standard deviation adds to the log-odds, before tanh. Without a value
    there is the reason.
    """

    value: float | None = Field(default=None, ge=0, le=1)
    low: float | None = Field(default=None, ge=0, le=1)
    high: float | None = Field(default=None, ge=0, le=1)
    slope: float | None = None
    n: int = Field(ge=0)
    extrapolated: bool = False  # one model's replies are longer throughout: nothing was seen at equal length
    reason: str | None = None


class Against(Record):
    """One model against another on one prompt set."""

    model: str
    against: str
    compared: int = Field(ge=0)  # prompts that both answered
    without_reply: dict[str, int]  # prompts without a reply, of each of the two
    identical: int = Field(ge=0)  # of the compared: the same text twice, a tie that nobody was asked about
    judgements: int = Field(ge=0)
    failed: int = Field(ge=0)  # of the judgements
    failures: dict[str, int]  # reason -> judgements
    overall: Rate
    corrected: Corrected
    axes: dict[str, Rate]
    principles: list[PrincipleRate]
    held_out: Rate | None = None  # by the principles alone that training did not have
    trained: Rate | None = None  # by those that it had
    categories: dict[str, Rate]  # of the prompts, where the set names them
    order_consistent: Interval  # how often swapping the replies kept the winner
    longer: Interval  # how often the longer reply won, of those that differ in length
    kl: Figure | None = None  # nats a reply, over the model's own replies; None between baselines


class Refusals(Record):
    """How often replies open as refusals do, by what the prompts are marked as."""

    all: Interval
    safe: Interval
    looks_unsafe: Interval  # over-refusal
    unsafe: Interval


class Choices(Record):
    """Questions with choices of which some are right: the model's probabilities of the choices."""

    accuracy: Interval
    ece: float | None
    reliability: list[Bin]
    on_choices: float | None  # mean probability of all choices together, before they were scaled to a sum of 1
    failed: int = Field(ge=0)
    reason: str | None = None  # why nothing was asked


class Replies(Record):
    """What one model's replies look like, on one prompt set."""

    model: str
    answered: int = Field(ge=0)
    missing: int = Field(ge=0)
    missing_ids: list[str]  # the first ones
    failures: dict[str, int]  # reason -> prompts, where a model was asked
    words: float | None = None  # mean a reply
    finished: float | None = None  # share of replies that ended by themselves; None of recorded outputs
    distinct: float | None = None  # share of different replies
    distinct_1: float | None = None  # different words over all words
    distinct_2: float | None = None  # different word pairs over all word pairs
    longest_repeat: float | None = None  # mean length, in words, of the longest word sequence that a reply repeats
    compression: float | None = None  # bytes of all replies over their bytes when compressed together
    meteor: Similarity | None = None  # between replies to different prompts
    refusals: Refusals
    choices: Choices | None = None  # None where the set has no such questions


class Rating(Record):
    """A model's Bradley-Terry strength as Elo points around a mean of 1000, with a 95 % bootstrap interval."""

    model: str
    elo: float
    low: float | None
    high: float | None


class Ratings(Record):
    """All models of one prompt set, the strongest first; or why they cannot be rated."""

    ratings: list[Rating]
    prompts: int = Field(ge=0)
    replicates: int = Field(ge=0)
    lost: int = Field(ge=0)  # replicates in which some model never won, or never lost
    reason: str | None = None


class SetResult(Record):
    """One prompt set."""

    name: str
    digest: str  # of its file; the name of a Hub data set
    prompts: int = Field(ge=0)
    questions: int = Field(ge=0)  # with choices
    dialogues: int = Field(ge=0)  # with several turns to answer
    replies: list[Replies]
    comparisons: list[Against]
    ratings: Ratings | None = None  # None of two models: their win rate says it


class Contestant(Record):
    """A model as it was named: an engine's SPEC, or a file of recorded outputs."""

    name: str
    source: str
    recorded: bool


class Training(Record):
    """What the run trained with, as far as it matters here."""

    constitution: str
    critic: str
    same_critic: bool  # the critic here is the one that wrote the labels
    held_out: list[str]  # ids of principles that it did not have


class EvaluationResult(Record):
    """Everything that `rlaif evaluate --model` measured."""

    schema_version: int = SCHEMA_VERSION
    model: str
    contestants: list[Contestant]
    critic: str
    mode: str
    constitution: str
    constitution_hash: str
    training: Training | None
    temperature: float
    max_tokens: int
    seed: int
    sets: list[SetResult]
    distrust: list[str]  # what to keep in mind with these numbers


class ModelReply(Record):
    """A row of `replies.jsonl`: what one model said to one prompt, a text for each turn; or why it said nothing."""

    set: str
    prompt_id: str
    model: str
    messages: list[Message]
    turns: list[str]  # what the user said after each reply but the last
    replies: list[str] | None
    finished: list[bool] | None  # which of the replies ended by themselves; None of recorded outputs
    reason: str | None = None


class Verdict(Record):
    """A row of `verdicts.jsonl`: P(the first model's reply is better), and what it is made of."""

    set: str
    prompt_id: str
    model: str
    against: str
    p: float | None = Field(ge=0, le=1)
    axes: dict[str, float | None]
    principles: dict[str, float | None]
    order_consistent: bool | None
    identical: bool
    longer_by: int  # characters
    judgements: int = Field(ge=0)
    reasons: list[str]  # of those that failed
