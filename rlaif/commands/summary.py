"""What a finished run prints: the before/after table for a person, one JSON object for a machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.execution import Timing
from rlaif.records.errors import InputError
from rlaif.records.report import Evaluation, LabelSummary, Report, RewardSummary

MODELS = ("start", "sft", "policy")


class Whole(NamedTuple):
    """The report of a run that came to its end, with the records that such a run has."""

    report: Report
    evaluation: Evaluation
    labels: LabelSummary
    reward: RewardSummary


def read(folder: Path) -> Whole:
    """The run's report.

    Raises:
        InputError: a record that the summary needs could not be read.
    """
    report = Report.model_validate_json((folder / "report" / "report.json").read_bytes())
    if report.evaluation is None or report.labels is None or report.reward is None:
        lost = "; ".join(f"{own.file}: {own.what}" for own in report.problems)
        page = folder / "report" / "report.html"
        fix = f"see {page}, which shows the rest; delete the folder of that stage, and run the same command again"
        raise InputError(f"the run is finished, but not all of it can be read: {lost}", file=folder, fix=fix)
    return Whole(report, report.evaluation, report.labels, report.reward)


def data(folder: Path, timings: list[Timing]) -> dict[str, Any]:
    """The run's headline figures. `seconds` are of this call; a stage that was finished before took none."""
    report, evaluation, labels, reward = read(folder)
    by_model = {m.name: m for m in evaluation.models}
    keys = sorted({key for m in evaluation.models for key in m.oracle})
    oracle = {
        key: {name: by_model[name].oracle[key].value for name in MODELS if key in by_model[name].oracle} for key in keys
    }
    against = {c.against: c for c in evaluation.comparisons if c.model == "policy"}
    agreed = evaluation.labels_oracle
    took = {t.stage: t.seconds or 0.0 for t in timings}
    return {
        "name": report.name,
        "seed": report.seed,
        "simulation": report.simulation,
        "oracle": oracle,
        "critic": {
            "spec": report.critic,
            "win_rate": against["sft"].win_rate.value,
            "win_rate_interval": [against["sft"].win_rate.low, against["sft"].win_rate.high],
            "win_rate_against_start": against["start"].win_rate.value,
        },
        "kl": evaluation.kl,
        "distinct": {m.name: m.distinct for m in evaluation.models},
        "words": {m.name: m.words for m in evaluation.models},
        "labels": {
            "count": labels.count,
            "failed": labels.failed_judgements,
            "oracle_accuracy": agreed.value if agreed else None,
        },
        "reward": {"accuracy": reward.accuracy.value},
        "rollout": {"engine": report.rollout_engine},
        "warnings": report.warnings,
        "seconds": {"total": round(sum(took.values()), 1), "by_stage": {k: round(v, 1) for k, v in took.items()}},
        "report": str((folder / "report" / "report.html").resolve()),
    }


def table(folder: Path) -> str:
    """Before and after, as text."""
    report, evaluation, labels, _ = read(folder)
    by_model = {m.name: m for m in evaluation.models}
    rows: list[tuple[str, list[str]]] = []
    for key in sorted({key for m in evaluation.models for key in m.oracle}, key=_importance):
        cells = [by_model[n].oracle.get(key) for n in MODELS]
        rows.append((key, ["–" if c is None else f"{c.value:.1%}" for c in cells]))
    rows.append(("distinct replies", [f"{by_model[n].distinct:.1%}" for n in MODELS]))
    rows.append(("words a reply", [f"{by_model[n].words:.1f}" for n in MODELS]))
    width = max(len(name) for name, _ in rows)
    held = by_model["policy"].samples
    lines = [f"{'':<{width}}  {'start':>8}  {'SFT':>8}  {'policy':>8}   ({held} held-out prompts)"]
    lines += [f"{name:<{width}}  " + "  ".join(f"{cell:>8}" for cell in cells) for name, cells in rows]
    win = next(c.win_rate for c in evaluation.comparisons if (c.model, c.against) == ("policy", "sft"))
    if win.value is not None:
        lines.append(f"\ncritic: policy beats SFT in {win.value:.1%} [{win.low:.1%}, {win.high:.1%}]")
    agreed = evaluation.labels_oracle
    truth = f", {agreed.value:.1%} agree with the oracle" if agreed and agreed.value is not None else ""
    lines.append(f"labels: {labels.count} pairs, {labels.failed_judgements} failed judgements{truth}")
    kl = "not estimated from greedy replies" if evaluation.kl is None else f"{evaluation.kl:.2f} nats a reply"
    lines.append(f"KL: {kl} from the SFT policy; rollouts by {report.rollout_engine}")
    lines += [f"warning: {warning}" for warning in report.warnings]
    lines.append(f"\nreport: {(folder / 'report' / 'report.html').resolve()}")
    return "\n".join(lines)


def following(folder: Path, constitution: str, critic: str) -> str:
    """What to do next: cards of the run, or labels of the user's own pairs by its critic."""
    label = shlex.join(["rlaif", "label", "--constitution", constitution, "--pairs", "FILE", "--critic", critic])
    return (
        f"next: rlaif card {shlex.quote(str(folder))}\n"
        f"or:   {label} --out labels\n"
        '      for pairs of your own: FILE has lines {"prompt": ..., "responses": [..., ...]}'
    )


def _importance(key: str) -> tuple[int, str]:
    first = ("harmless", "helpful", "grammatical", "polite", "rude", "preachy")
    return (first.index(key) if key in first else len(first), key)
