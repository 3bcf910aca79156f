"""everything so far -> report: one JSON with the numbers, one page that a person reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from rlaif.ports.engines import Engines
from rlaif.records import metrics
from rlaif.records.constitution import Constitution
from rlaif.records.files import read_rows, write_text
from rlaif.records.label import Label
from rlaif.records.report import Curve, Evaluation, LabelSummary, Report, RevisionExample, RewardSummary
from rlaif.records.sample import Revision
from rlaif.records.settings import Lineage, Settings

UNITS = {
    "score": "reward",
    "kl": "nats a reply",
    "kl_coefficient": "reward a nat",
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
    "loss": "nats a token",
    "heldout_loss": "nats a token",
}
DRIFT = 0.05  # a measured attribute that moved the wrong way by more is worth a word


class Config(Settings):
    """How many examples the page shows."""

    pairs: int = Field(default=8, ge=0, description="labelled pairs that the page shows")
    revisions: int = Field(default=4, ge=0, description="revisions that the page shows")


class Inputs(NamedTuple):
    name: str
    seed: int
    simulation: bool
    constitution: Constitution
    critic: str
    rollout_engine: str
    folder: Path  # the run folder, of which finished artifacts are read
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `report.json` and `report.html`."""
    from rlaif.page import render  # draws with matplotlib, which takes a second to load

    folder = inputs.folder
    evaluation = Evaluation.model_validate_json((folder / "evaluate/evaluation.json").read_bytes())
    labels = read_rows(folder / "label/labels.jsonl", Label, "labels")
    summary = LabelSummary.model_validate_json((folder / "label/summary.json").read_bytes())
    reward = RewardSummary.model_validate_json((folder / "reward/summary.json").read_bytes())
    revisions = read_rows(folder / "revise/revisions.jsonl", Revision, "revisions")
    report = Report(
        name=inputs.name,
        seed=inputs.seed,
        constitution=f"{inputs.constitution.name}@{inputs.constitution.version}",
        summary=inputs.constitution.summary or "",
        principles={
            p.id: p.prefer + (f" Unless: {p.unless}" if p.unless else "") for p in inputs.constitution.principles
        },
        critic=inputs.critic,
        rollout_engine=inputs.rollout_engine,
        simulation=inputs.simulation,
        evaluation=evaluation,
        labels=summary,
        reward=reward,
        sft_curves=curves(folder / "sft/metrics.jsonl", ("loss", "heldout_loss")),
        policy_curves=curves(folder / "policy/metrics.jsonl", tuple(n for n in UNITS if not n.endswith("loss"))),
        pairs=telling(labels, config.pairs),
        revisions=[_example(r) for r in revisions if r.rounds][: config.revisions],
        warnings=warnings(evaluation, summary, reward),
    )
    text = json.dumps(report.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=True)
    write_text(inputs.out / "report.json", text + "\n")
    write_text(inputs.out / "report.html", render.page(report))
    engines.reporter.line(f"report: {inputs.out / 'report.html'}")
    return ["report.json", "report.html"]


def curves(path: Path, names: Sequence[str]) -> list[Curve]:
    """The named quantities of a metrics file, those that it has."""
    rows = metrics.read(path)
    found = []
    for name in names:
        points = [(row.step, row.values[name]) for row in rows if name in row.values]
        if points:
            steps, values = zip(*points, strict=True)
            found.append(Curve(name=name, unit=UNITS[name], steps=list(steps), values=list(values)))
    return found


def telling(labels: Sequence[Label], count: int) -> list[Label]:
    """Pairs worth looking at: the least certain, those whose winner changed with the order, and ordinary ones."""
    decided = [x for x in labels if x.p is not None]
    unsure = sorted(decided, key=lambda x: (abs((x.p or 0.0) - 0.5), x.pair.id))[: count // 4]
    flipped = [x for x in decided if x.order_consistent is False][: count // 4]
    failed = [x for x in labels if x.p is None][: count // 4]
    chosen = {x.pair.id: x for x in [*failed, *flipped, *unsure, *decided[:count]]}
    return list(chosen.values())[:count]


def _example(row: Revision) -> RevisionExample:
    return RevisionExample(
        messages=row.prompt.messages, initial=row.initial, rounds=[{**r.model_dump()} for r in row.rounds]
    )


def warnings(evaluation: Evaluation, labels: LabelSummary, reward: RewardSummary) -> list[str]:
    """What a careful reader would object to, in words, worst first."""
    by_name = {m.name: m for m in evaluation.models}
    start, final = by_name["start"], by_name["policy"]
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
    if evaluation.kl is not None and evaluation.kl > 20:
        found.append(f"The policy is {evaluation.kl:.1f} nats a reply from the SFT policy: its scores may be hacks.")
    win = next(c.win_rate for c in evaluation.comparisons if (c.model, c.against) == ("policy", "sft"))
    if win.low is not None and win.low <= 0.5:
        found.append("The critic does not clearly prefer the policy to the SFT policy (its interval reaches 50 %).")
    against = reward.against_baseline
    if against.low is None or against.low <= 0:
        found.append(f"The reward model is not shown to be better than a rule that learns nothing ({against.against}).")
    if labels.failed_judgements:
        found.append(f"{labels.failed_judgements} of {labels.judgements} judgements failed: missing, not zero.")
    if labels.order_inconsistent > 0.1 * labels.count:
        found.append(f"{labels.order_inconsistent} of {labels.count} labels change their winner with the order.")
    return found
