"""Drawings of a guard's audits: what the policy is paid by against what the critic says, and the meters beside them.

Marks: a dashed upright line where a rule fired, a grey one where an audit is missing, a whole one at the policy that
was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from rlaif.page.charts import SIZE, WIDE, Mark, Series, Tone, drawing
from rlaif.records.agreement import Interval
from rlaif.records.guard import Audit, Meters
from rlaif.records.report import GuardReport, OverOptimisation


class Drawn(NamedTuple):
    """A drawing with its caption, all in the page's own words but for a principle's name as title. `legend`: tones and
    what they stand for; `field`: of the record that it was drawn from."""

    title: str
    unit: str
    note: str
    legend: list[tuple[Tone, str]]
    svg: Markup
    field: str


PAIR: list[tuple[Tone, str]] = [("accent", "policy"), ("muted", "reference")]
PRINCIPLES = 12  # that are drawn
METERS = (
    ("tokens", "length", "tokens a reply"),
    ("distinct", "different replies", "share"),
    ("distinct_2", "different word pairs", "share"),
    ("longest_repeat", "longest repeat", "words"),
    ("compression", "compression", "bytes over compressed bytes"),
    ("meteor", "alike across prompts", "METEOR"),
    ("refusals", "refusals", "share"),
    ("over_refusals", "refusals of safe prompts", "share"),
    ("finished", "ended by themselves", "share"),
)


def marks(guard: GuardReport | None) -> list[Mark]:
    """What an audit says about an update, as upright lines of any curve over updates."""
    if guard is None:
        return []
    fired = [Mark(audit.update, "bad") for audit in guard.audits if audit.fired]
    missing = [Mark(audit.update, "muted") for audit in guard.audits if audit.missing is not None]
    return [*missing, *fired, *([] if guard.kept is None else [Mark(guard.kept, "good", whole=True)])]


def headline(guard: GuardReport, of: str = "guard") -> list[Drawn]:
    """The two curves that must not part: what the policy is paid by, and what the critic says. `of` makes the names of
    the drawings those of one guard."""
    own = marks(guard)
    paid = _both(guard.audits, lambda a: a.proxy, lambda a: a.reference_proxy)
    won = [a for a in guard.audits if a.win_rate is not None and a.win_rate.value is not None]
    found = []
    if paid:
        svg = Markup(drawing(paid, f"{of}-proxy", marks=own, size=WIDE))
        note = "mean reward of the replies, as the policy is paid"
        found.append(Drawn("What the policy is paid by", "reward", note, PAIR, svg, "proxy, reference_proxy"))
    if won:
        critic = _with_interval([a.update for a in won], [a.win_rate for a in won if a.win_rate is not None])
        svg = Markup(drawing(critic, f"{of}-critic", marks=own, level=0.5, size=WIDE, span=(-0.03, 1.03)))
        note = "how often the critic prefers the policy’s reply to the reference’s, with its 95 % interval"
        found.append(Drawn("What the critic says", "win rate", note, [], svg, "win_rate"))
    return found


def by_principle(guard: GuardReport) -> list[Drawn]:
    """The critic's win rate under each principle; of many principles, the first ones."""
    names = list(dict.fromkeys(name for audit in guard.audits for name in audit.principles))[:PRINCIPLES]
    found = []
    for number, name in enumerate(names):
        held = [audit for audit in guard.audits if name in audit.principles]
        known = [(a.update, a.principles[name]) for a in held if a.principles[name].value is not None]
        if known:
            series = _with_interval([update for update, _ in known], [rate for _, rate in known])
            svg = drawing(series, f"guard-principle-{number}", marks=marks(guard), level=0.5, span=(-0.03, 1.03))
            found.append(Drawn(name, "win rate", "", [], Markup(svg), "principles"))
    return found


def others(guard: GuardReport) -> list[Drawn]:
    """Everything else that audits measure."""
    own = marks(guard)
    audits = guard.audits
    single: list[tuple[str, str, Callable[[Audit], float | None], str]] = [
        ("distance from the reference", "nats a reply (KL)", lambda a: a.kl, "kl"),
        ("entropy", "nats a token", lambda a: a.entropy, "entropy"),
        ("cost", "cost a reply", lambda a: a.cost, "cost"),
        ("reward models disagree", "variance", lambda a: a.spread, "spread"),
    ]
    found = []
    for title, unit, value, field in single:
        series = _single(audits, value)
        if series and field == "cost":
            series = [_cost(audits)]
        if series:
            svg = Markup(drawing(series, f"guard-{field}", marks=own, level=0.0 if field == "cost" else None))
            found.append(Drawn(title, unit, "", [], svg, field))
    for field, title, unit in METERS:
        series = _both(audits, _meter(field, "policy"), _meter(field, "reference"))
        if series:
            svg = Markup(drawing(series, f"guard-{field}", marks=own))
            found.append(Drawn(title, unit, "", PAIR, svg, f"policy.{field}, reference.{field}"))
    return found


def fits(guard: GuardReport) -> list[tuple[OverOptimisation, Markup | None]]:
    """The curves of over-optimisation, over d = sqrt(KL) from the reference."""
    return [(fit, _fit(fit, guard)) for fit in guard.fits]


def _fit(fit: OverOptimisation, guard: GuardReport) -> Markup | None:
    if not fit.points:
        return None
    points = sorted(fit.points, key=lambda point: point.d)
    shown = Series([p.d for p in points], [p.score for p in points], kind="points")
    if fit.of == "critic":
        by_update = {a.update: a.win_rate for a in guard.audits}
        ends = [by_update[p.update] for p in points]
        low, high = ([(getattr(e, name) or 0.0) - 0.5 for e in ends] for name in ("low", "high"))
        shown = shown._replace(low=low, high=high)
    line = [Series([d for d, _ in fit.line], [score for _, score in fit.line], "second")] if fit.line else []
    peak = [] if fit.peak is None else [Mark(fit.peak, "second", whole=True)]
    svg = drawing(
        [*line, shown], f"fit-{fit.of}", marks=peak, level=0.0, below="d = √KL from the reference", size=(SIZE[0], 2.2)
    )
    return Markup(svg)


def _single(audits: Sequence[Audit], value: Callable[[Audit], float | None], tone: Tone = "accent") -> list[Series]:
    points = [(audit.update, found) for audit in audits if (found := value(audit)) is not None]
    if not points:
        return []
    xs, ys = zip(*points, strict=True)
    return [Series(xs, ys, tone), Series(xs, ys, tone, "points")]


def _both(
    audits: Sequence[Audit], policy: Callable[[Audit], float | None], reference: Callable[[Audit], float | None]
) -> list[Series]:
    beside = _single(audits, reference, "muted")[:1]
    return [*(own._replace(kind="dashed") for own in beside), *_single(audits, policy)]


def _meter(field: str, whose: str) -> Callable[[Audit], float | None]:
    def value(audit: Audit) -> float | None:
        meters: Meters = getattr(audit, whose)
        found: float | None = getattr(meters, field)
        return found

    return value


def _with_interval(xs: Sequence[int], rates: Sequence[Interval]) -> list[Series]:
    ys, low, high = ([getattr(rate, name) for rate in rates] for name in ("value", "low", "high"))
    return [Series(xs, ys), Series(xs, ys, "accent", "points", low, high)]


def _cost(audits: Sequence[Audit]) -> Series:
    """The mean cost, two standard errors to either side."""
    known = [(a.update, a.cost, 2 * (a.cost_error or 0.0)) for a in audits if a.cost is not None]
    xs, ys, widths = zip(*known, strict=True)
    low, high = ([y + sign * w for y, w in zip(ys, widths, strict=True)] for sign in (-1, 1))
    return Series(xs, ys, "accent", "line", low, high)
