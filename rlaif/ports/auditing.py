"""Audits of a policy in training: its replies to held-out prompts against the reference's, as the critic sees them.

Everybody draws and scores a part of the replies; the main process alone asks the critic, in both orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from rlaif.critique import aggregate, heldout, meters
from rlaif.critique.agreement import score, wilson
from rlaif.critique.compare import questions
from rlaif.ports import answers, judging
from rlaif.ports.asks import Ask, Range
from rlaif.ports.chat import ChatModel, Sampling
from rlaif.ports.engines import Engines
from rlaif.ports.experience import replies_to
from rlaif.ports.judging import Reading
from rlaif.ports.learner import PolicyLearner
from rlaif.ports.processes import Processes, slice_of
from rlaif.ports.rewards import Rewards
from rlaif.ports.rollout import RolloutEngine
from rlaif.records import seeds
from rlaif.records.agreement import Interval
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.guard import Audit, Exploit, Meters, Verdict
from rlaif.records.label import Label
from rlaif.records.pair import Pair
from rlaif.records.prompt import Prompt
from rlaif.records.store import AnswerStore

MAX_FAILURE_RATE = 0.1  # of an audit's judgements; with more it is missing


class Drawn(NamedTuple):
    """A reply and what can be said of it alone. `proxy` is its score as the policy is paid; None where a term of it is
    missing. kl: nats; surprise: minus its log-probability, nats."""

    text: str
    tokens: int
    finished: bool
    kl: float
    surprise: float
    proxy: float | None
    cost: float | None
    spread: float | None


class Found(NamedTuple):
    """By an audit, with no rule applied yet; exploits the worst first, verdicts on what is none."""

    audit: Audit
    exploits: list[Exploit]
    verdicts: list[Verdict]


class Judge(NamedTuple):
    """Who audits, by what, and the file in which answers are kept."""

    model: ChatModel
    constitution: Constitution
    store: Path


class Auditor:
    """Draws, scores and judges the same prompts with the same seeds at every audit.

    Args:
        judge: None in every process but the main one.
        prompts: held out from training, one for each process at least.

    Raises:
        InputError: there are fewer.
    """

    def __init__(
        self,
        judge: Judge | None,
        engines: Engines,
        rewards: Rewards,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seed: int,
    ) -> None:
        if len(prompts) < engines.processes.size:
            problem = f"{len(prompts)} held-out prompts leave some of {engines.processes.size} processes without one"
            raise InputError(problem, fix="raise policy.guard.prompts", field="policy.guard.prompts")
        self._judge = judge
        self._engines = engines
        self._rewards = rewards
        self._prompts = prompts
        self._sampling = sampling
        self._seed = seed
        self._reference: list[Drawn] = []

    @property
    def _processes(self) -> Processes:
        return self._engines.processes

    def begin(self, actor: RolloutEngine, learner: PolicyLearner) -> None:
        """Draw the reference's replies: `actor` still holds its weights."""
        self._reference = self._draw(actor, learner)

    def audit(self, update: int, actor: RolloutEngine, learner: PolicyLearner) -> Found:
        """The audit of the policy whose weights `actor` holds, the same in every process."""
        drawn = self._draw(actor, learner)
        found = None if self._judge is None else self._judged(self._judge, update, drawn)
        held = self._processes.gather(found)[0]
        assert held is not None  # the first process is the main one
        return held

    def _draw(self, actor: RolloutEngine, learner: PolicyLearner) -> list[Drawn]:
        own = [self._prompts[i] for i in slice_of(len(self._prompts), self._processes)]
        return [reply for part in self._processes.gather(self._part(own, actor, learner)) for reply in part]

    def _part(self, prompts: Sequence[Prompt], actor: RolloutEngine, learner: PolicyLearner) -> list[Drawn]:
        seeded = [seeds.derive(self._seed, prompt.id, "audit") for prompt in prompts]
        rollouts, replies = replies_to(prompts, seeded, actor, learner, self._sampling)
        logprobs_B = learner.logprobs(rollouts).sum(1)
        kl_B = logprobs_B - learner.reference_logprobs(rollouts).sum(1)
        scores = self._rewards.score(replies)
        spreads = self._rewards.spread(replies)
        return [
            Drawn(
                text=reply.text,
                tokens=reply.tokens,
                finished=bool(rollouts.finished_B[row]),
                kl=float(kl_B[row]),
                surprise=-float(logprobs_B[row]),
                proxy=scores.totals[row],
                cost=None if scores.costs is None else scores.costs[row],
                spread=None if spreads is None else spreads[row],
            )
            for row, reply in enumerate(replies)
        ]

    def _judged(self, judge: Judge, update: int, drawn: Sequence[Drawn]) -> Found:
        pairs = [
            Pair(id=prompt.id, messages=prompt.messages, responses=(own.text, other.text))
            for prompt, own, other in zip(self._prompts, drawn, self._reference, strict=True)
        ]
        labels, missing = self._labels(judge, pairs)
        costs = [own.cost for own in drawn if own.cost is not None]
        audit = Audit(
            update=update,
            missing=missing,
            win_rate=None if missing else win_rate([x.p for x in labels]),
            principles={} if missing else _by_principle(labels),
            proxy=_mean([own.proxy for own in drawn]),
            reference_proxy=_mean([own.proxy for own in self._reference]),
            kl=fmean(own.kl for own in drawn),
            entropy=sum(own.surprise for own in drawn) / sum(own.tokens for own in drawn),
            cost=_mean(costs),
            cost_error=stdev(costs) / math.sqrt(len(costs)) if len(costs) > 1 else None,
            spread=_mean([own.spread for own in drawn]),
            policy=self._meters(drawn),
            reference=self._meters(self._reference),
            fired=[],
        )
        exploits = self._exploits(update, labels, drawn) if labels else []
        known = {exploit.label.pair.id for exploit in exploits}
        others = [label for label in labels if label.p is not None and label.pair.id not in known]
        return Found(audit, exploits, [Verdict(update=update, label=label) for label in others])

    def _labels(self, judge: Judge, pairs: Sequence[Pair]) -> tuple[list[Label], str | None]:
        """A label for each pair, or why there are none."""
        asked = [list(questions(pair, judge.constitution)) for pair in pairs]
        try:
            with closing(AnswerStore(judge.store)) as store:
                asking = answers.Asking(
                    judge.model, store, self._engines.reporter, what="audit", max_failure_rate=MAX_FAILURE_RATE
                )
                reading = Reading(judging.choose("auto", judge.model)[0])
                judged = judging.judge(asking, [q for own in asked for q in own], reading)
                reasons = [j.reason for j in judged if j.status == "failed"]
                asking.count_failures(len(reasons), len(judged), reasons[-1] if reasons else None)
        except (RunHalted, InputError) as error:
            return [], str(error)
        rest = iter(judged)
        labels = [
            aggregate.label(pair, judge.constitution, list(islice(rest, len(own))))
            for pair, own in zip(pairs, asked, strict=True)
        ]
        return labels, None

    def _exploits(self, update: int, labels: Sequence[Label], drawn: Sequence[Drawn]) -> list[Exploit]:
        found = [
            Exploit(update=update, label=label, proxy=own.proxy, reference_proxy=other.proxy)
            for label, own, other in zip(labels, drawn, self._reference, strict=True)
            if own.proxy is not None and other.proxy is not None and label.p is not None
            if own.proxy > other.proxy and label.p < 0.5 and heldout.decided(label)
        ]
        return sorted(found, key=lambda exploit: (exploit.p, -exploit.proxy))

    def _meters(self, drawn: Sequence[Drawn]) -> Meters:
        return meters.measure(
            [own.text for own in drawn],
            [meters.marked_safe(prompt.meta) for prompt in self._prompts],
            tokens=fmean(own.tokens for own in drawn),
            finished=fmean(own.finished for own in drawn),
            seed=self._seed,
        )


def asks(
    audits: int, size: int, prompts: Sequence[Prompt], rows: tuple[int, int], critic: str, constitution: Constitution
) -> list[Ask]:
    """What audits of `size` prompts like these will take of the critic. A reply that is the same as before is asked
    about once."""
    shown = [Pair(id=p.id, messages=p.messages, responses=("", "")) for p in prompts]
    asked = [q for pair in shown for q in questions(pair, constitution)]
    each = size * len(asked) / len(shown)
    count = Range(each if audits else 0, audits * each)
    return judging.asks("audits", critic, asked, rows, count, "auto", Reading("logprob"), ("rollouts", "rollouts"))


def win_rate(probabilities: Sequence[float | None]) -> Interval:
    """Share of pairs whose first response is preferred, a tie counting half."""
    wins = [score(p, 0) for p in probabilities if p is not None]
    return wilson(sum(wins), len(wins))


def _by_principle(labels: Sequence[Label]) -> dict[str, Interval]:
    found: dict[str, list[float | None]] = {}
    for label in labels:
        for vote in label.votes:
            found.setdefault(vote.principle_id, []).append(vote.p)
    return {name: win_rate(values) for name, values in sorted(found.items())}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
