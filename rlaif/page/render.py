"""A report as one HTML page: self-contained, opened from a file.

Everything untrusted passes `rlaif.page.shell` on its way out. The page's content policy then allows its own style sheet
and its one script, by hash, and nothing else; and no script may turn text into markup.

Left out here: judging the numbers. Warnings come with the report; the page only shows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

from rlaif.page import guard, packing
from rlaif.page.charts import Mark, Series, curve_svg, reliability_svg
from rlaif.page.packing import Packed
from rlaif.page.shell import FOLDER, content_policy, decimal, environment, percent, signed
from rlaif.records.agreement import Bin, Interval
from rlaif.records.audit import PrincipleFigures, Together
from rlaif.records.report import Credit, Curve, Evaluation, ModelEvaluation, Report, RoundReport

MOVED = 5  # of the scorer's shares in the overview
COUPLES = 10  # of principles that are shown
# What numbers link to, relative to the run folder.
RECORDS = {
    "evaluation": "evaluate/evaluation.json",
    "replies": "evaluate/replies.jsonl",
    "audits": "policy/audits.jsonl",
    "exploits": "policy/exploits.jsonl",
    "metrics": "policy/metrics.jsonl",
    "sft": "sft/metrics.jsonl",
    "reward": "reward/summary.json",
    "cost": "cost/summary.json",
    "audit": "audit/audit.json",
    "labels": "label/summary.json",
    "pairs": "label/labels.jsonl",
    "judgements": "label/judgements.jsonl",
    "revisions": "revise/revisions.jsonl",
}


class Shown(NamedTuple):
    """How many examples a page holds at most, so that it opens at once whatever the run's size."""

    pairs: int = 30
    revisions: int = 15
    samples: int = 60
    open: int = 5  # samples that stand open; the others are folded


class Row(NamedTuple):
    """One quantity of the before/after table: a cell for every model, formatted, and where it is a share, its bar."""

    name: str
    note: str
    cells: list[str | None]
    shares: list[float | None]  # empty where the quantity is no share
    change: str | None
    verdict: str  # better, worse, or empty where the scorer names no direction or nothing moved


class Plots(NamedTuple):
    """The curves of one training with their drawings; `record`: what they were read from; marks: the guard's are in."""

    title: str
    record: str
    marked: bool
    drawn: list[tuple[Curve, Markup | None]]


class Round(NamedTuple):
    """A later round, with the guard's two headlines and the curves of its training."""

    found: RoundReport
    headline: list[guard.Drawn]
    drawn: list[tuple[Curve, Markup | None]]


class Token(NamedTuple):
    """A token of a reply: how strongly it raises or lowers the score, as a class of the style sheet; by how much."""

    text: str
    tone: str
    value: str
    last: bool


class Credited(NamedTuple):
    credit: Credit
    tokens: list[Token]
    largest: list[Token]


class Reliability(NamedTuple):
    svg: Markup
    legend: list[tuple[str, str]]


class Wins(NamedTuple):
    """The critic's win rate under each principle, at one audit."""

    update: int
    principles: dict[str, Interval]


def page(report: Report, pairs: tuple[dict[str, Any], Iterable[tuple[Any, Any]]] | None = None) -> str:
    """The whole page. It is a pure function of the report and the pairs, and always encodes as UTF-8.

    Args:
        pairs: what the pair browser reads: its head and, for each pair, a row and its judgements; None leaves it out.
    """
    packed = packing.pack(*pairs) if pairs is not None else None
    packed = packed if packed and packed.rows else None
    text = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ("style.css", "pairs.js")}
    audits = report.guard
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            files=RECORDS,
            packed=packed,
            style=Markup(text["style.css"]),
            script=Markup(text["pairs.js"]),
            policy=Markup(content_policy(text["style.css"], text["pairs.js"] if packed else None)),
            shown=Shown(),
            models=[m.name for m in report.evaluation.models] if report.evaluation else [],
            oracle_rows=oracle_rows(report.evaluation) if report.evaluation else [],
            moved=_moved(oracle_rows(report.evaluation)) if report.evaluation else [],
            text_rows=text_rows(report.evaluation.models) if report.evaluation else [],
            sizes=_sizes(report.evaluation) if report.evaluation else [],
            guard_headline=guard.headline(audits) if audits else [],
            guard_principles=guard.by_principle(audits) if audits else [],
            guard_others=guard.others(audits) if audits else [],
            guard_fits=guard.fits(audits) if audits else [],
            plots=_groups(report),
            rounds=[_round(own) for own in report.rounds],
            reliability=_reliability(report),
            credits=[_credited(credit) for credit in report.credits],
            principle_figures=_principle_figures(report),
            principle_wins=_wins(report),
            couples=_couples(report.influence.together) if report.influence else [],
            nav=_nav(report, packed),
            present=_present(report),
        )
    )


def oracle_rows(evaluation: Evaluation) -> list[Row]:
    """What the scorer says of each model: what should rise first, then what should fall, then what may do either.

    A key whose means all lie in [0, 1] is read as a share.
    """
    rows = []
    keys = dict.fromkeys(key for model in evaluation.models for key in model.oracle)
    for key in sorted(keys, key=lambda name: -evaluation.oracle_direction.get(name, -2)):
        means = [model.oracle.get(key) for model in evaluation.models]
        direction = evaluation.oracle_direction.get(key, 0)
        counts = sorted({mean.n for mean in means if mean is not None})
        note = f"n {counts[0]}" if len(counts) == 1 else f"n {counts[0]}–{counts[-1]}"
        arrow = {1: " · ↑\u00a0better", -1: " · ↓\u00a0better"}.get(direction, "")
        values = [None if mean is None else mean.value for mean in means]
        share = all(0 <= value <= 1 for value in values if value is not None)
        rows.append(_row(key, note + arrow, values, share=share, direction=direction))
    return rows


def text_rows(models: list[ModelEvaluation]) -> list[Row]:
    """What each model's replies look like, whatever they say."""
    return [
        _row("words", "a reply", [m.words for m in models], share=False),
        _row("longest repeat", "words", [m.longest_repeat for m in models], share=False),
        _row("distinct replies", "of all", [m.distinct for m in models], share=True),
        _row("distinct word pairs", "of all", [m.distinct_2 for m in models], share=True),
        _row("alike across prompts", "METEOR", [m.meteor.value if m.meteor else None for m in models], share=True),
        _row("finished", "ended by itself", [m.finished for m in models], share=True),
    ]


def _row(name: str, note: str, values: Sequence[float | None], *, share: bool, direction: int = 0) -> Row:
    first, last = values[0], values[-1]
    difference = last - first if first is not None and last is not None and len(values) > 1 else 0.0
    change = signed(100 * difference, 0) if share else signed(difference, 1)
    verdict = ""
    if direction and change not in ("0", "0.0"):  # what is printed as no change is none
        verdict = "better" if direction * difference > 0 else "worse"
    if first is None or last is None or len(values) == 1:
        change = None
    if share:
        points = None if change is None else f"{change}\u00a0pt"
        return Row(name, note, [percent(value) for value in values], list(values), points, verdict)
    return Row(name, note, [decimal(value, 1) for value in values], [], change, verdict)


def _groups(report: Report) -> list[Plots]:
    marks = guard.marks(report.guard)
    sft = Plots("Supervised fine-tuning", "sft", False, _plots("sft", report.sft_curves))
    policy = Plots("Policy optimisation", "metrics", bool(marks), _plots("policy", report.policy_curves, marks))
    return [group for group in (sft, policy) if group.drawn]


def _plots(group: str, curves: list[Curve], marks: Sequence[Mark] = ()) -> list[tuple[Curve, Markup | None]]:
    """Each curve with its drawing; none where there is no point to draw."""
    return [
        (c, Markup(curve_svg(c.steps, c.values, f"{group}{i}", marks)) if c.steps else None)
        for i, c in enumerate(curves)
    ]


def _round(own: RoundReport) -> Round:
    name = f"round{own.number}"
    drawn = _plots(f"{name}-policy", own.policy_curves, guard.marks(own.guard))
    return Round(own, guard.headline(own.guard, name) if own.guard else [], drawn)


def _reliability(report: Report) -> Reliability | None:
    calibration = report.reward.calibration if report.reward else None
    if calibration is None or not calibration.before.reliability:
        return None

    def series(bins: Sequence[Bin], tone: Literal["accent", "second"]) -> list[Series]:
        xs, ys = [found.confidence for found in bins], [found.accuracy for found in bins]
        return [Series(xs, ys, tone), Series(xs, ys, tone, "points")]

    drawn, legend = series(calibration.before.reliability, "accent"), [("accent", "as it is")]
    if calibration.after is not None and calibration.after.reliability:
        drawn += series(calibration.after.reliability, "second")
        legend.append(("second", "at the fitted temperature"))
    return Reliability(Markup(reliability_svg(drawn, "reliability")), legend)


def _credited(credit: Credit) -> Credited:
    largest = max((abs(value) for value in credit.credits), default=0.0)
    last = len(credit.tokens) - 1
    tokens = [
        Token(text, _tone(value, largest), signed(value) or "", place == last)
        for place, (text, value) in enumerate(zip(credit.tokens, credit.credits, strict=True))
    ]
    order = sorted(range(len(tokens)), key=lambda place: -abs(credit.credits[place]))
    return Credited(credit, tokens, [tokens[place] for place in order[:4]])


def _tone(value: float, largest: float) -> str:
    strength = sum(abs(value) >= bound * largest for bound in (0.15, 0.4, 0.7)) if largest else 0
    return f"{'up' if value > 0 else 'down'}{strength}" if strength else ""


def _principle_figures(report: Report) -> dict[str, PrincipleFigures]:
    return {own.principle: own for own in report.audit.principles} if report.audit else {}


def _wins(report: Report) -> Wins | None:
    """At the audit of the policy that was kept, or at the last one that was held."""
    held = [audit for audit in report.guard.audits if audit.principles] if report.guard else []
    kept = [audit for audit in held if report.guard and audit.update == report.guard.kept]
    return next((Wins(audit.update, audit.principles) for audit in (*kept, *held[::-1])), None)


def _couples(together: Sequence[Together]) -> list[Together]:
    """The couples of principles that agree least and most."""
    known = [both for both in together if both.agreement.value is not None]
    known.sort(key=lambda both: both.agreement.value or 0.0)
    return known if len(known) <= COUPLES else [*known[: COUPLES // 2], *known[-COUPLES // 2 :]]


def _nav(report: Report, packed: Packed | None) -> list[tuple[str, str]]:
    """The sections that this page has."""
    sections = [
        ("overview", "In short", True),
        ("outcome", "Before and after", report.evaluation),
        ("critic", "Critic’s verdict", report.evaluation),
        ("guard", "Guard", report.guard),
        ("training", "Training", report.sft_curves or report.policy_curves),
        ("rounds", "Rounds", report.rounds),
        ("reward", "Reward model", report.reward),
        ("cost", "Cost model", report.cost),
        ("credit", "Token credit", report.credits),
        ("constitution", "Constitution", report.principles),
        ("labels", "Labels", report.labels),
        ("pairs", "Pairs", packed or report.pairs),
        ("revisions", "Revisions", report.revisions),
        ("samples", "Samples", report.evaluation),
        ("distrust", "What to distrust", True),
    ]
    return [(anchor, title) for anchor, title, there in sections if there]


def _present(report: Report) -> list[str]:
    """The records that the page was made from, as keys of `RECORDS`."""
    guarded = report.guard is not None
    there = {
        "evaluation": report.evaluation,
        "replies": report.evaluation,
        "audits": guarded,
        "exploits": guarded,
        "sft": report.sft_curves,
        "metrics": report.policy_curves,
        "reward": report.reward,
        "cost": report.cost,
        "audit": report.audit,
        "labels": report.labels,
        "pairs": report.labels,
        "judgements": report.labels,
        "revisions": report.revisions,
    }
    return [name for name, found in there.items() if found]


def _moved(rows: Sequence[Row]) -> list[Row]:
    """The shares that moved furthest, one way or the other."""
    found = [row for row in rows if row.verdict and row.shares]
    return sorted(found, key=lambda row: -abs((row.shares[-1] or 0.0) - (row.shares[0] or 0.0)))[:MOVED]


def _sizes(evaluation: Evaluation) -> list[tuple[int, str]]:
    """The smallest and the largest n of the scorer's means, with half the widest 95 % interval at that n in points."""
    counts = {mean.n for model in evaluation.models for mean in model.oracle.values()}
    return [(n, f"{98 / math.sqrt(n):.0f}") for n in sorted({min(counts), max(counts)})] if counts else []
