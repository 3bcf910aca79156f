"""Two runs on one page, number beside number. It is a pure function of their reports, and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from rlaif.page.charts import Series, Tone, drawing, thin
from rlaif.page.render import RECORDS, Row, oracle_rows
from rlaif.page.shell import FOLDER, content_policy, decimal, environment, percent, signed
from rlaif.records.agreement import Interval
from rlaif.records.report import BeforeAfter, Comparison, Evaluation, ModelEvaluation, Report

SAMPLES = 12


class Side(NamedTuple):
    """One of the two runs: its report, what people call its folder, and that folder relative to the page."""

    report: Report
    folder: str
    base: str


class Line(NamedTuple):
    """A quantity of both runs as text, what the second has more of it, and where it was read. `group` stands above,
    `ranges` beside: 95 % intervals, where the quantity has them."""

    group: str
    name: str
    note: str
    cells: tuple[str | None, str | None]
    change: str | None
    record: str
    field: str
    ranges: tuple[str | None, str | None] = (None, None)


class Both(NamedTuple):
    """A curve of both runs."""

    name: str
    unit: str
    svg: Markup
    record: str


class Reply(NamedTuple):
    """What the two policies say to one prompt."""

    sample: BeforeAfter
    replies: tuple[str | None, str | None]


def page(first: Side, second: Side, settings: Sequence[tuple[str, str | None, str | None]]) -> str:
    """The whole page.

    Args:
        settings: what differs: its name, and the value of each, None where one does not have it.
    """
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("compare.html.jinja")
        .render(
            sides=(first, second),
            bases=[quote(side.base) for side in (first, second)],
            files=RECORDS,
            style=Markup(style),
            policy=Markup(content_policy(style, None)),
            lines=lines(first.report, second.report),
            settings=settings,
            curves=_curves(first.report, second.report),
            samples=_samples(first.report, second.report),
            unlike=unlike(first.report, second.report),
        )
    )


def unlike(first: Report, second: Report) -> list[str]:
    """Why numbers of the two may not be compared, in words."""
    found = []
    if first.critic != second.critic:
        found.append("Different critics judged them: win rates and labels are not on one scale.")
    if (first.constitution, first.principles) != (second.constitution, second.principles):
        found.append("They were judged under different constitutions.")
    prompts = [
        {sample.prompt_id for sample in report.evaluation.samples} if report.evaluation else set()
        for report in (first, second)
    ]
    if prompts[0] and prompts[1] and not prompts[0] & prompts[1]:
        found.append("They were evaluated on different prompts.")
    if first.seed != second.seed:
        found.append("Their seeds differ: a part of every difference is chance.")
    return found


def lines(first: Report, second: Report) -> list[Line]:
    """The numbers of both, where at least one has them."""
    pair = (first, second)
    found = [
        _measured("The critic’s verdict", f"policy preferred to {against}", _win(against), pair, "evaluation")
        for against in ("sft", "start")
    ]
    found.append(
        _number("The critic’s verdict", "KL from the SFT model", "nats a reply", _kl, pair, "evaluation", "kl")
    )
    keys = dict.fromkeys(row.name for report in pair for row in _oracle(report))
    found += [_oracle_line(key, pair) for key in keys]
    for name, field in (("words a reply", "words"), ("longest repeat", "longest_repeat")):
        found.append(
            _number("The policy’s replies", name, "", _of_policy(field), pair, "evaluation", f"models[].{field}")
        )
    for name, field in (("different replies", "distinct"), ("different word pairs", "distinct_2")):
        found.append(_share("The policy’s replies", name, _of_policy(field), pair, "evaluation"))
    guard = "The guard"
    found += [
        _number(
            guard, "audits", "", lambda r: float(len(r.guard.audits)) if r.guard else None, pair, "audits", "rows", 0
        ),
        _measured(guard, "best win rate of an audit", lambda r: _audited(r, best=True), pair, "audits"),
        _measured(guard, "win rate of the last audit", lambda r: _audited(r, best=False), pair, "audits"),
        _number(guard, "update that was kept", "", _kept, pair, "audits", "update", 0),
        _measured("Labels and reward model", "reward model’s held-out accuracy", _accuracy, pair, "reward"),
        _share("Labels and reward model", "labels that flip with the order", _flips, pair, "labels"),
        _share("Labels and reward model", "ties", _ties, pair, "labels"),
    ]
    return [line for line in found if line.cells != (None, None)]


Measure = Callable[[Report], float | None]


def _share(group: str, name: str, of: Measure, pair: tuple[Report, Report], record: str) -> Line:
    a, b = of(pair[0]), of(pair[1])
    change = None if a is None or b is None else f"{signed(100 * (b - a), 0)}\u00a0pt"
    return Line(group, name, "", (percent(a), percent(b)), change, record, name)


def _measured(
    group: str, name: str, of: Callable[[Report], Interval | None], pair: tuple[Report, Report], record: str
) -> Line:
    """A share that was counted on few enough for chance to matter."""
    line = _share(group, name, lambda report: own.value if (own := of(report)) else None, pair, record)
    a, b = (of(report) for report in pair)
    return line._replace(ranges=(_range(a), _range(b)))


def _range(own: Interval | None) -> str | None:
    if own is None or own.low is None or own.high is None:
        return None
    return f"[{percent(own.low)}, {percent(own.high)}]"


def _number(
    group: str, name: str, note: str, of: Measure, pair: tuple[Report, Report], record: str, field: str, digits: int = 1
) -> Line:
    a, b = of(pair[0]), of(pair[1])
    change = None if a is None or b is None else signed(b - a, digits)
    return Line(group, name, note, (decimal(a, digits), decimal(b, digits)), change, record, field)


def _oracle(report: Report) -> list[Row]:
    return oracle_rows(report.evaluation) if report.evaluation else []


def _oracle_line(key: str, pair: tuple[Report, Report]) -> Line:
    def mean(report: Report) -> float | None:
        model = _policy(report.evaluation)
        return model.oracle[key].value if model and key in model.oracle else None

    values = [mean(report) for report in pair]
    share = all(0 <= value <= 1 for value in values if value is not None)
    group = "What the scorer says of the policy’s replies"
    line = (
        _share(group, key, mean, pair, "evaluation")
        if share
        else _number(group, key, "", mean, pair, "evaluation", "models[].oracle")
    )
    direction = next((r.evaluation.oracle_direction.get(key, 0) for r in pair if r.evaluation), 0)
    return line._replace(note={1: "↑\u00a0better", -1: "↓\u00a0better"}.get(direction, ""), field="models[].oracle")


def _policy(evaluation: Evaluation | None) -> ModelEvaluation | None:
    return next((m for m in evaluation.models if m.name == "policy"), None) if evaluation else None


def _of_policy(field: str) -> Measure:
    def value(report: Report) -> float | None:
        model: Any = _policy(report.evaluation)
        return None if model is None else float(getattr(model, field))

    return value


def _win(against: str) -> Callable[[Report], Interval | None]:
    def value(report: Report) -> Interval | None:
        found: list[Comparison] = report.evaluation.comparisons if report.evaluation else []
        return next((c.win_rate for c in found if (c.model, c.against) == ("policy", against)), None)

    return value


def _kl(report: Report) -> float | None:
    return report.evaluation.kl if report.evaluation else None


def _kept(report: Report) -> float | None:
    return float(report.guard.kept) if report.guard and report.guard.kept is not None else None


def _audited(report: Report, *, best: bool) -> Interval | None:
    held: list[Interval] = [a.win_rate for a in report.guard.audits if a.win_rate] if report.guard else []
    known = [own for own in held if own.value is not None]
    return (max(known, key=lambda own: own.value or 0) if best else known[-1]) if known else None


def _accuracy(report: Report) -> Interval | None:
    return report.reward.accuracy if report.reward else None


def _flips(report: Report) -> float | None:
    labels = report.labels
    return labels.order_inconsistent / labels.labelled if labels and labels.labelled else None


def _ties(report: Report) -> float | None:
    labels = report.labels
    return labels.ties / labels.labelled if labels and labels.labelled else None


def _curves(first: Report, second: Report) -> list[Both]:
    """The guard's two headlines and the training's curves, where both or one have them."""
    found: list[Both] = []
    tones: tuple[Tone, Tone] = ("accent", "second")
    for name, unit, of in (("critic’s win rate", "at audits", _wins), ("proxy reward", "at audits", _proxies)):
        series = [own for report, tone in zip((first, second), tones, strict=True) for own in of(report, tone)]
        if series:
            found.append(Both(name, unit, Markup(drawing(series, f"both-{len(found)}")), "audits"))
    curves = [{curve.name: curve for curve in report.policy_curves} for report in (first, second)]
    for name in dict.fromkeys([*curves[0], *curves[1]]):
        series = []
        for own, tone in zip(curves, tones, strict=True):
            if name in own and own[name].steps:
                points = thin(list(zip(own[name].steps, own[name].values, strict=True)))
                series.append(Series([x for x, _ in points], [y for _, y in points], tone))
        if series:
            unit = next(own[name].unit for own in curves if name in own)
            found.append(Both(name.replace("_", " "), unit, Markup(drawing(series, f"both-{len(found)}")), "metrics"))
    return found


def _wins(report: Report, tone: Tone) -> list[Series]:
    held = [a for a in report.guard.audits if a.win_rate and a.win_rate.value is not None] if report.guard else []
    return [Series([a.update for a in held], [(a.win_rate and a.win_rate.value) or 0.0 for a in held], tone)] * bool(
        held
    )


def _proxies(report: Report, tone: Tone) -> list[Series]:
    held = [(a.update, a.proxy) for a in report.guard.audits if a.proxy is not None] if report.guard else []
    return [Series([x for x, _ in held], [y for _, y in held], tone)] * bool(held)


def _samples(first: Report, second: Report) -> list[Reply]:
    """The first prompts that both have answered."""
    if first.evaluation is None or second.evaluation is None:
        return []
    others = {sample.prompt_id: sample for sample in second.evaluation.samples}
    found = [
        Reply(sample, (sample.replies.get("policy"), other.replies.get("policy")))
        for sample in first.evaluation.samples
        if (other := others.get(sample.prompt_id)) is not None and other.messages == sample.messages
    ]
    return found[:SAMPLES]
