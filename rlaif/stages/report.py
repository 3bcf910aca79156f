"""everything so far -> report: one JSON with the numbers, one page that a person reads.

Of a run that is not whole it says what there is and what is missing; a record that cannot be read is named.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from rlaif.ports import guardreport, pairbook, readout
from rlaif.ports.engines import Engines
from rlaif.ports.pairbook import Chapter
from rlaif.ports.readout import Readout
from rlaif.records.audit import Audit
from rlaif.records.constitution import Constitution
from rlaif.records.files import write_text
from rlaif.records.guard import Guard
from rlaif.records.label import Label
from rlaif.records.labelling import LabelFolder
from rlaif.records.report import (
    Evaluation,
    GuardReport,
    LabelSummary,
    PrincipleText,
    Problem,
    Report,
    RevisionExample,
    RewardSummary,
    RoundReport,
)
from rlaif.records.sample import Revision
from rlaif.records.settings import Settings
from rlaif.records.trained import CostSummary

UNITS = {
    "score": "reward",
    "kl": "nats a reply",
    "kl_coefficient": "reward a nat",
    "cost": "cost a reply",
    "costly": "share of replies with a cost above 0",
    "harm": "probability of harm, as the cost model says",
    "multiplier": "reward a unit of cost",
    "tokens": "tokens a reply",
    "finished": "share",
    "entropy": "nats a token",
    "clip_fraction": "share",
    "approx_kl_k3": "nats a token",
    "explained_variance": "share",
    "best_score": "reward",
    "reference_kl": "nats a token",
    "flat": "share",
    "canary_gap": "nats",
}
TERMS = "a term of the reward, before its weight"
SFT_UNITS = {"loss": "nats a token", "heldout_loss": "nats a token"}
DRIFT = 0.05  # a measured attribute that moved the wrong way by more is worth a word
FAR = 20  # nats a reply from which on a score is more likely to be a hack


class Config(Settings):
    """How much the page shows."""

    pairs: int = Field(default=8, ge=0, description="labelled pairs that the page shows on paper and without scripts")
    browse: int = Field(default=10_000, ge=0, description="labelled pairs that can be browsed, as far as 15 MB go")
    revisions: int = Field(default=4, ge=0, description="revisions that the page shows")
    credits: int = Field(default=3, ge=0, description="replies with what each token adds to the reward")


class Inputs(NamedTuple):
    """What the report is of. What a run folder alone does not say may be None."""

    name: str
    seed: int | None
    simulation: bool
    constitution: Constitution | None
    critic: str | None
    rollout_engine: str | None
    guard: Guard | None  # the run file's
    stages: Sequence[str]  # names of the run's, but for this one
    folder: Path  # the run folder, of which finished artifacts are read
    out: Path
    faults: Sequence[Problem] = ()  # what is known already to be wrong with the folder


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `report.json` and `report.html`."""
    write(config, engines, inputs)
    return ["report.json", "report.html"]


def write(config: Config, engines: Engines, inputs: Inputs) -> Report:
    """The same, for callers that want the report."""
    from rlaif.page import render  # draws with matplotlib, which takes a second to load

    report, book = gather(config, engines, inputs)
    text = json.dumps(report.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=True)
    write_text(inputs.out / "report.json", text + "\n")
    write_text(inputs.out / "report.html", render.page(report, (book.head, book.rows)))
    for problem in report.problems:
        engines.reporter.line(f"report: {problem.file}: {problem.what}")
    engines.reporter.line(f"report: {inputs.out / 'report.html'}")
    return report


def gather(config: Config, engines: Engines, inputs: Inputs) -> tuple[Report, pairbook.Book]:
    """The report of a run folder in whatever state it is, and its pairs to browse."""
    of = Readout(inputs.folder)
    states = readout.stages(of, inputs.stages)
    finished = {state.name for state in states if state.state == "finished"}
    evaluation = of.record("evaluate/evaluation.json", Evaluation)
    audit = of.record("audit/audit.json", Audit)
    about = of.record("label/labelling.json", LabelFolder)
    found = readout.labels(of, about, audit, max(config.browse, config.pairs))
    first = Chapter(1, of, about, found.labels[: config.browse])
    later = readout.later_rounds(inputs.folder)
    book = pairbook.book([first, *_chapters(later, config.browse - len(first.labels))])
    summary, reward = readout.label_summary(of), of.record("reward/summary.json", RewardSummary)
    guard = guardreport.read(of, inputs.guard, finished="policy" in finished)
    rounds = [_round(own, number, inputs.guard, finished) for number, own in later.items()]
    constitution = inputs.constitution or (about.constitution if about else None)
    report = Report(
        name=inputs.name,
        seed=inputs.seed,
        constitution=f"{constitution.name}@{constitution.version}" if constitution else None,
        summary=(constitution.summary or "") if constitution else "",
        principles=principle_texts(constitution) if constitution else [],
        critic=inputs.critic,
        rollout_engine=inputs.rollout_engine,
        simulation=inputs.simulation,
        stages=states,
        problems=[],
        evaluation=evaluation,
        labels=summary,
        audit=audit,
        influence=found.influence,
        reward=reward,
        cost=of.record("cost/summary.json", CostSummary),
        sft_curves=readout.curves(of, "sft/metrics.jsonl", SFT_UNITS),
        policy_curves=readout.curves(of, "policy/metrics.jsonl", UNITS, TERMS),
        guard=guard,
        rounds=rounds,
        credits=readout.credits(of, engines, evaluation.samples[: config.credits] if evaluation else [], "policy"),
        pairs=telling(found.labels, config.pairs),
        revisions=_examples(of, config.revisions),
        warnings=[*warnings(evaluation, summary, reward, audit, guard), *_of_rounds(rounds)],
    )
    problems = sorted(
        {(p.file, p.what) for own in (inputs.faults, *(r.problems for r in (of, *later.values()))) for p in own}
    )
    return report.model_copy(update={"problems": [Problem(file=file, what=what) for file, what in problems]}), book


def _chapters(rounds: Mapping[int, Readout], most: int) -> Iterator[Chapter]:
    """The labels of later rounds, as many as there is room for."""
    for number, own in rounds.items():
        about = own.record("label/labelling.json", LabelFolder)
        chapter = Chapter(
            number, own, about, list(islice(own.rows("label/labels.jsonl", Label, "labels"), max(0, most)))
        )
        most -= len(chapter.labels)
        yield chapter


def _round(own: Readout, number: int, guard: Guard | None, finished: Collection[str]) -> RoundReport:
    return RoundReport(
        number=number,
        labels=readout.label_summary(own),
        reward=own.record("reward/summary.json", RewardSummary),
        cost=own.record("cost/summary.json", CostSummary),
        guard=guardreport.read(own, guard, finished=f"{own.part}policy" in finished),
        policy_curves=readout.curves(own, "policy/metrics.jsonl", UNITS, TERMS),
    )


def principle_texts(constitution: Constitution) -> list[PrincipleText]:
    """The principles as the critic reads them, with what they speak for."""
    return [
        PrincipleText(
            id=own.id,
            axis=own.axis,
            weight=own.weight,
            text=(own.ask if own.kind == "check" and own.ask else own.prefer)
            + (f" Unless: {own.unless}" if own.unless else ""),
        )
        for own in constitution.principles
    ]


def telling(labels: Sequence[Label], count: int) -> list[Label]:
    """Pairs worth looking at: the least certain, those whose winner changed with the order, and ordinary ones."""
    decided = [x for x in labels if x.p is not None]
    unsure = sorted(decided, key=lambda x: (abs((x.p or 0.0) - 0.5), x.pair.id))[: count // 4]
    flipped = [x for x in decided if x.order_consistent is False][: count // 4]
    failed = [x for x in labels if x.p is None][: count // 4]
    chosen = {x.pair.id: x for x in [*failed, *flipped, *unsure, *decided[:count]]}
    return list(chosen.values())[:count]


def _examples(of: Readout, count: int) -> list[RevisionExample]:
    """The first revised replies."""
    found: list[RevisionExample] = []
    for row in of.rows("revise/revisions.jsonl", Revision, "revisions"):
        if len(found) >= count:
            break
        if row.rounds:
            rounds = [{**r.model_dump()} for r in row.rounds]
            found.append(RevisionExample(messages=row.prompt.messages, initial=row.initial, rounds=rounds))
    return found


def warnings(
    evaluation: Evaluation | None,
    labels: LabelSummary | None,
    reward: RewardSummary | None,
    audit: Audit | None = None,
    guard: GuardReport | None = None,
) -> list[str]:
    """What a careful reader would object to, in words, worst first."""
    return [
        *(_of_evaluation(evaluation) if evaluation else []),
        *(_of_guard(guard) if guard else []),
        *(_of_reward(reward) if reward else []),
        *(_of_labels(labels) if labels else []),
        *(_of_audit(audit) if audit else []),
    ]


def _of_rounds(rounds: Sequence[RoundReport]) -> list[str]:
    return [
        f"Round {own.number}: {text}"
        for own in rounds
        for text in warnings(None, own.labels, own.reward, None, own.guard)
    ]


def _of_evaluation(evaluation: Evaluation) -> list[str]:
    by_name = {m.name: m for m in evaluation.models}
    start, final = by_name.get("start"), by_name.get("policy")
    if start is None or final is None:
        return []
    found = []
    if final.distinct < 0.5:
        share = f"{final.distinct:.0%} of its replies are different (start: {start.distinct:.0%})"
        found.append(f"The policy has collapsed: {share}.")
    for key, direction in sorted(evaluation.oracle_direction.items()):
        if key in start.oracle and key in final.oracle:
            before, after = start.oracle[key].value, final.oracle[key].value
            if direction * (before - after) >= DRIFT:
                verb = "rose" if after > before else "fell"
                found.append(f"“{key}” {verb} from {before:.0%} to {after:.0%} of replies.")
    if evaluation.kl is not None and evaluation.kl > FAR:
        found.append(f"The policy is {evaluation.kl:.1f} nats a reply from the SFT policy: its scores may be hacks.")
    win = [c.win_rate for c in evaluation.comparisons if (c.model, c.against) == ("policy", "sft")]
    if win and win[0].low is not None and win[0].low <= 0.5:
        found.append("The critic does not clearly prefer the policy to the SFT policy (its interval reaches 50 %).")
    return found


def _of_guard(guard: GuardReport) -> list[str]:
    """What the audits saw. Where training ended with the best audited policy, what came after it harms nobody."""
    found = []
    by_update = {audit.update: audit for audit in guard.audits}
    if lost := [audit for audit in guard.audits if audit.missing is not None]:
        found.append(f"{len(lost)} of {len(guard.audits)} audits are missing: the critic failed, which is no pass.")
    for audit in guard.audits:
        for name in audit.fired:
            then = guard.actions.get(name)
            found.append(f"The guard’s rule “{name}” fired at update {audit.update}" + (f" ({then})." if then else "."))
    best, last = by_update.get(guard.best or 0), guard.audits[-1]
    if best and best.win_rate and last.win_rate and not guard.rolled_back:
        high, top = last.win_rate.high, best.win_rate.value
        if high is not None and top is not None and last.win_rate.value is not None and high < top:
            fell = f"from {top:.0%} at update {best.update} to {last.win_rate.value:.0%} at update {last.update}"
            found.append(f"While the policy trained, the critic’s win rate fell {fell}.")
    held = [audit for audit in guard.audits if audit.principles]
    for audit in [audit for audit in held if audit.update == guard.kept] or held[-1:]:
        for name, rate in audit.principles.items():
            if rate.value is not None and rate.high is not None and rate.high < 0.5:
                text = f"Under “{name}” the critic likes the policy less than the reference: it wins {rate.value:.0%}"
                found.append(f"{text} at update {audit.update}.")
    return found


def _of_reward(reward: RewardSummary) -> list[str]:
    against = reward.against_baseline
    if against.low is None or against.low <= 0:
        return [f"The reward model is not shown to be better than a rule that learns nothing ({against.against})."]
    return []


def _of_labels(labels: LabelSummary) -> list[str]:
    found = []
    if labels.failed_judgements:
        found.append(f"{labels.failed_judgements} of {labels.judgements} judgements failed: missing, not zero.")
    if labels.order_inconsistent > 0.1 * labels.count:
        found.append(f"{labels.order_inconsistent} of {labels.count} labels change their winner with the order.")
    for kind, (lost, judged) in sorted(labels.canaries.items()):
        if lost < judged:
            found.append(f"{judged - lost} of {judged} canaries of the kind “{kind}” won, and must lose.")
    return found


def _of_audit(audit: Audit) -> list[str]:
    return [f"The labels do not pass the gate {gate.gate}." for gate in audit.gates if not gate.holds]
