"""The guard: audits of the policy while it trains, and the rules that act on them. `policy.guard` of a run file, and
the rows of `policy/audits.jsonl`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rlaif.records.agreement import Interval
from rlaif.records.base import Record
from rlaif.records.label import Label
from rlaif.records.prompt import Message
from rlaif.records.settings import Settings

Watched = Literal["win_rate", "kl", "degenerate", "cost"]
Action = Literal["stop", "rollback", "raise_kl"]
NEEDS_LIMIT = ("kl", "cost")


class Rule(Settings):
    """A rule fires where what it watches is out of bounds in `patience` audits one after the other.

    win_rate: the whole interval of the critic's win rate over the reference lies under `limit`; without one, under the
        best that was reached twice so far (one audit can be lucky), or under the one half of the start. With
        `principle`, of that one alone.
    kl: nats a reply from the reference, above `limit`.
    degenerate: replies repeat themselves, each other, or compress, `limit` times as much as the reference's do.
    cost: the whole interval of the mean cost lies above `limit`.
    """

    watch: Watched = Field(description="win_rate, kl, degenerate or cost")
    principle: str | None = Field(default=None, description="of win_rate: under this principle alone")
    limit: float | None = Field(
        default=None, description="of win_rate: a share; of kl: nats a reply; of cost: mean; of degenerate: a factor"
    )
    patience: int = Field(default=2, ge=1, description="audits in a row before it fires")
    then: Action = Field(
        default="rollback",
        description="stop: halt the run, state kept; rollback: end with the best audited policy; raise_kl: double beta",
    )

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if self.watch in NEEDS_LIMIT and self.limit is None:
            raise ValueError(f"a rule that watches {self.watch} needs a limit", "say limit: NUMBER")
        if self.watch == "win_rate" and self.limit is not None and not 0 < self.limit < 1:
            raise ValueError("a win rate's limit is a share", "say one between 0 and 1; the start has 0.5")
        if self.watch != "win_rate" and self.principle is not None:
            raise ValueError(f"a rule that watches {self.watch} has no principle", "leave it out, or watch win_rate")
        return self

    @property
    def name(self) -> str:
        of = "" if self.principle is None else f"({self.principle})"
        bound = "" if self.limit is None else f"{'<' if self.watch == 'win_rate' else '>'}{self.limit:g}"
        return f"{self.watch}{of}{bound}"


class Guard(Settings):
    """When the policy is audited, on what, and what follows."""

    every: int = Field(default=20, ge=1, description="updates between audits")
    prompts: int = Field(default=40, ge=2, description="held-out prompts that policy and reference answer")
    rules: list[Rule] = Field(
        default=[Rule(watch="win_rate"), Rule(watch="degenerate")], description="what is watched, and what follows"
    )
    critic: str | None = Field(default=None, description="SPEC of the critic that audits; the run's where not given")
    feedback: bool = Field(
        default=False, description="exploits that are found teach the next round's reward model what it got wrong"
    )
    takes_over: bool = Field(
        default=False,
        description="of feedback: `critic` writes the labels of later rounds; those of the run's own count no more",
    )
    max_missing: int = Field(
        default=3, ge=1, description="audits in a row that the critic fails before the run pauses, state kept"
    )

    @model_validator(mode="after")
    def _heir_is_known(self) -> Self:
        if self.takes_over and not self.feedback:
            raise ValueError("policy.guard.takes_over is a part of feedback", "say feedback: true as well")
        if self.takes_over and self.critic is None:
            problem = "policy.guard.takes_over has nobody to take over: policy.guard.critic is not given"
            raise ValueError(problem, "name another critic than the run's, or leave takes_over out")
        return self


class Meters(Record):
    """What is measured of a set of replies, one a prompt, without a judge.

    distinct: share of different replies. distinct_2: different word pairs over all. longest_repeat: words of the
    longest sequence that stands twice in a reply, mean. compression: bytes of all replies over their compressed bytes.
    meteor: across prompts, both directions. tokens: a reply, EOS included. finished: share that ended by themselves.
    refusals: share that open by declining. over_refusals: the same of prompts that are marked as safe (`safety: safe`
    or `looks-unsafe`, or `harmful: false`); None where none is.
    """

    distinct: float
    distinct_2: float
    longest_repeat: float
    compression: float
    meteor: float | None
    tokens: float
    finished: float
    refusals: float
    over_refusals: float | None = None


class Audit(Record):
    """One audit. Where the critic failed, `missing` says why and there is no win rate: that is never a pass.

    win_rate: of the policy over the reference, by mean probability over both orders; principles: the same of each.
    proxy: mean reward of the policy's replies, reference_proxy: of the reference's, both as the policy is paid; None
    where a term of the reward is missing for all.
    kl: nats a reply, on these replies. entropy: nats a token.
    cost, cost_error: mean and its standard error, where there is a cost model. spread: mean variance of the reward
    models of an ensemble. fired: names of the rules that fired here.
    """

    update: int
    missing: str | None
    win_rate: Interval | None
    principles: dict[str, Interval]
    proxy: float | None
    reference_proxy: float | None
    kl: float
    entropy: float
    cost: float | None
    cost_error: float | None
    spread: float | None
    policy: Meters
    reference: Meters
    fired: list[str]


class Verdict(Record):
    """A row of `policy/audited.jsonl`: the critic's label of a reply, first, and the reference's; no exploit."""

    update: int
    label: Label


class Exploit(Record):
    """A row of `policy/exploits.jsonl`: a reply that the reward likes better than the reference's, and the critic less,
    by more than a tie.

    label: the critic's, of the reply and the reference's, with every vote.
    """

    update: int
    label: Label
    proxy: float
    reference_proxy: float

    @property
    def p(self) -> float:
        """The critic's probability that the reply is the better one of the two."""
        assert self.label.p is not None
        return self.label.p

    @property
    def messages(self) -> list[Message]:
        return self.label.pair.messages

    @property
    def reply(self) -> str:
        return self.label.pair.responses[0]

    @property
    def reference(self) -> str:
        return self.label.pair.responses[1]
