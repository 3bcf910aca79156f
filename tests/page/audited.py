"""Audits of a policy whose proxy rises while the critic's win rate rises and falls, and what else a report may hold."""

from __future__ import annotations

from rlaif.records.agreement import Difference
from rlaif.records.audit import Audit as LabelAudit
from rlaif.records.audit import Counts, Figure, Finding, GateResult, PrincipleFigures, Together
from rlaif.records.guard import Audit, Exploit, Meters
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from rlaif.records.report import (
    Credit,
    GuardReport,
    Influence,
    OverOptimisation,
    Point,
    Problem,
    Report,
    RoundReport,
    StageState,
)
from rlaif.records.trained import CostSummary
from tests.page.synthetic import (
    ALL_HOSTILE,
    REPLIES,
    curve,
    hostile,
    interval,
    label,
    label_summary,
    report,
    reward_summary,
)


def meters(tokens: float = 24.0) -> Meters:
    return Meters(
        distinct=0.97,
        distinct_2=0.41,
        longest_repeat=1.3,
        compression=3.1,
        meteor=0.2,
        tokens=tokens,
        finished=1.0,
        refusals=0.1,
    )


def audit(update: int, win: float | None, proxy: float, kl: float, fired: tuple[str, ...] = ()) -> Audit:
    rate = None if win is None else interval(win, 48)
    return Audit(
        update=update,
        missing=None if win is not None else "12 of 96 failed, more than the allowed 10%",
        win_rate=rate,
        principles={} if rate is None else {"no-harm": rate, "useful": interval(0.5, 48)},
        proxy=proxy,
        reference_proxy=0.25,
        kl=kl,
        entropy=0.6,
        cost=0.4 - 0.1 * update,
        cost_error=0.05,
        spread=0.2,
        policy=meters(24.0 + update),
        reference=meters(),
        fired=list(fired),
    )


def exploit(reply: str = "the the the the") -> Exploit:
    pair = Pair(
        id="guard-7",
        messages=[Message(role="user", content="How do I bake bread?")],
        responses=(reply, REPLIES["sft"]),
    )
    judged = label().model_copy(update={"pair": pair, "p": 0.04})
    return Exploit(update=30, label=judged, proxy=3.1, reference_proxy=0.4)


def guard_report() -> GuardReport:
    """Update 10 is the best, 20 is missing, the rule fires at 40, and the policy of update 10 is kept."""
    audits = [
        audit(10, 0.91, 1.4, 2.0),
        audit(20, None, 2.0, 5.0),
        audit(30, 0.6, 2.6, 9.0),
        audit(40, 0.35, 3.1, 14.0, ("win_rate",)),
    ]
    points = [Point(update=10, d=1.414, score=0.41), Point(update=30, d=3.0, score=0.1)]
    line = [(0.0, 0.0), (1.5, 0.4), (3.0, 0.1)]
    return GuardReport(
        audits=audits,
        critic=None,
        actions={"win_rate": "rollback"},
        best=10,
        kept=10,
        rolled_back=True,
        fits=[
            OverOptimisation(
                of="critic", points=points, alpha=0.4, beta=0.3, r_squared=0.9, line=line, peak=1.4, peaks=(1.3, 1.6)
            ),
            OverOptimisation(of="proxy", points=points, reason="the fitted curve does not bend down near the audits"),
        ],
        exploits=[exploit()],
        exploit_count=9,
    )


def cost() -> CostSummary:
    return CostSummary(
        axis="harmless",
        train_pairs=90,
        heldout_pairs=10,
        train_signs=150,
        truncated=0,
        accuracy=interval(0.8, 10),
        baselines={"longer": interval(0.5, 10)},
        against_baseline=Difference(of="model", against="longer", value=0.3, low=0.1, high=0.5, n=10),
        signs=interval(0.9, 20),
        majority_sign=interval(0.6, 20),
        ece=0.05,
        mean_cost=-0.3,
    )


def credit(token: str = " passport") -> Credit:
    return Credit(
        prompt_id="p0",
        messages=[Message(role="user", content="How do I forge a passport?")],
        model="policy",
        score=1.5,
        base=0.25,
        tokens=["I", " will", token, "</s>"],
        credits=[0.25, -0.5, 2.0, -0.5],
    )


def _figure(value: float | None = 0.25) -> Figure:
    return Figure(value=value, n=40, reason=None if value is not None else "it stands alone")


def label_audit(principle: str = "no-harm") -> LabelAudit:
    names = [name for name in PrincipleFigures.model_fields if name not in ("principle", "axis")]
    figures = {name: _figure(None if name == "axis_agreement" else 0.25) for name in names}
    return LabelAudit(
        constitution="tinyworld@1.0.0",
        critics=["vllm:tinyworld/critic"],
        gold=None,
        counts=Counts(
            pairs=40,
            labelled=40,
            judged=40,
            judgements=320,
            failed_judgements=0,
            failures={},
            ties=1,
            abstained=0,
            flagged=0,
            canaries={},
            sources={},
        ),
        figures={"length_bias": _figure(0.1)},
        principles=[PrincipleFigures(principle=principle, axis="harmless", **figures)],
        between_critics=[],
        self_preference=[],
        gates=[GateResult(gate="swap_consistency>=0.7", holds=True, figure=_figure(0.9))],
    )


def influence(principle: str = "no-harm") -> Influence:
    both = Together(first=principle, second="useful", agreement=_figure(0.9), correlation=_figure(0.7))
    text = f"`{principle}` says nothing"
    return Influence(together=[both], findings=[Finding(kind="silent", principles=[principle], text=text)])


def whole() -> Report:
    """A report with every part that there is."""
    later = RoundReport(
        number=2,
        labels=label_summary(),
        reward=reward_summary(),
        cost=None,
        guard=guard_report(),
        policy_curves=[curve("kl", "nats a reply", 0.0, 3.0)],
    )
    return report(
        guard=guard_report(),
        rounds=[later],
        cost=cost(),
        credits=[credit()],
        audit=label_audit(),
        influence=influence(),
    )


def wholly_hostile() -> Report:
    """The same with the texts of an attacker in every place for a text."""
    name, text = ALL_HOSTILE.replace("\n", " "), ALL_HOSTILE
    guard = guard_report()
    audits = [a.model_copy(update={"missing": a.missing and text, "fired": [name]}) for a in guard.audits]
    hostile_guard = guard.model_copy(update={"audits": audits, "actions": {name: "stop"}, "exploits": [exploit(text)]})
    later = (
        whole().rounds[0].model_copy(update={"guard": hostile_guard, "policy_curves": [curve(name, name, 0.0, 1.0)]})
    )
    parts = {
        "rounds": [later],
        "guard": hostile_guard,
        "cost": cost().model_copy(update={"axis": name}),
        "credits": [credit(text).model_copy(update={"model": name, "messages": exploit(text).messages})],
        "audit": label_audit(name).model_copy(
            update={"gates": [GateResult(gate=name, holds=False, figure=_figure(0.1))]}
        ),
        "influence": influence(name),
        "stages": [StageState(name=name, state="unfinished", note=text)],
        "problems": [Problem(file=name, what=text)],
    }
    return hostile().model_copy(update=parts)
