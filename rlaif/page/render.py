"""A report as one HTML page: self-contained, without scripts, opened from a file.

Prompts, replies, principle ids and model names are untrusted. Whatever the templates print passes one exit,
`finalize`: text is escaped, what cannot be seen in it (control characters, bidi overrides, lone surrogates) is made
visible, what is absent becomes a dash, and a bare number with a fraction is refused, so that none is printed without
a unit or a number of digits. The page's content policy then allows its own style sheet, by hash, and nothing else.

Left out here: judging the numbers. Warnings come with the report; the page only shows them.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup, escape

from rlaif.page.charts import curve_svg
from rlaif.records.agreement import Interval
from rlaif.records.report import Curve, Evaluation, ModelEvaluation, Report

FOLDER = Path(__file__).resolve().parent
PERCENT = "\u00a0%"
MAX_TEXT = 4000  # characters of one text that are shown
ABSENT = Markup('<abbr class="absent" title="not available: nothing was measured here">–</abbr>')
# Letters and marks that Unicode calls printable and no font draws: fillers, and the supplementary variation selectors,
# which can smuggle text.
UNSEEN = re.compile("[\u115f\u1160\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")
PLAIN = re.compile(r"[\x20-\x7e\n\t]*")


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


def page(report: Report) -> str:
    """The whole page. It is a pure function of the report, and always encodes as UTF-8."""
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            style=Markup(style),
            policy=Markup(f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"),
            shown=Shown(),
            models=[m.name for m in report.evaluation.models],
            oracle_rows=oracle_rows(report.evaluation),
            text_rows=text_rows(report.evaluation.models),
            sizes=_sizes(report.evaluation),
            plots={
                "Supervised fine-tuning": _plots("sft", report.sft_curves),
                "Policy optimisation": _plots("policy", report.policy_curves),
            },
        )
    )


def visible(text: str) -> Markup:
    """`text`, escaped; and the code points of what cannot be seen, or reorders its neighbours, in a <mark>.

    Line feeds and tabs stay, and spaces of any width. At most `MAX_TEXT` characters are shown, and it is said how many
    are not.
    """
    shown, rest = text[:MAX_TEXT], len(text) - MAX_TEXT
    if PLAIN.fullmatch(shown):
        marked = escape(shown)
    else:
        runs = ((odd, list(run)) for odd, run in groupby(shown, key=_unseen))
        marked = Markup("").join(
            Markup("<mark>{}</mark>").format(" ".join(f"U+{ord(character):04X}" for character in run))
            if odd
            else escape("".join(run))
            for odd, run in runs
        )
    if rest > 0:
        marked += Markup(' <em class="muted">… {} more characters, in report.json</em>').format(f"{rest:,}")
    return marked


def percent(share: float | None) -> str | None:
    """A share of 0 to 1 as a percentage. What is not quite none or all is never rounded to none or all."""
    if share is None:
        return None
    hundredths = 100 * share
    if hundredths in (0, 100) or 1 <= hundredths <= 99:
        return f"{hundredths:.0f}{PERCENT}"
    if 0 < hundredths < 1:
        return f"{hundredths:.1f}{PERCENT}" if hundredths >= 0.05 else f"<\u00a00.1{PERCENT}"
    if 99 < hundredths < 100:
        return f"{hundredths:.1f}{PERCENT}" if hundredths < 99.95 else f">\u00a099.9{PERCENT}"
    return f"{decimal(hundredths, 1)}{PERCENT}"


def decimal(value: float | None, digits: int = 2) -> str | None:
    """A number with a fixed count of digits, a true minus sign, and no minus before a rounded zero."""
    if value is None:
        return None
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str | None:
    """Like `decimal`, with a plus sign before what is above zero."""
    text = decimal(value, digits)
    return text if text is None or text.startswith("−") or not text.strip("0.,") else f"+{text}"


def significant(value: float) -> str:
    """A number of unknown size in three significant digits."""
    return f"{value:.3g}".replace("-", "−")


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
        arrow = {1: " · ↑ better", -1: " · ↓ better"}.get(direction, "")
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


def rules(baselines: dict[str, Interval]) -> list[tuple[str, Interval]]:
    """Trivial rules with what they get right, as the page names them."""
    names = {"longer": "the longer reply is better", "shorter": "the shorter reply is better", "random": "a coin"}
    names["first"] = "the reply that is stored first is better"
    return [(f"baseline: {names.get(name, name)}", found) for name, found in baselines.items()]


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


def _plots(group: str, curves: list[Curve]) -> list[tuple[Curve, Markup | None]]:
    """Each curve with its drawing; none where there is no point to draw."""
    return [(c, Markup(curve_svg(c.steps, c.values, f"{group}{i}")) if c.steps else None) for i, c in enumerate(curves)]


def _sizes(evaluation: Evaluation) -> list[tuple[int, str]]:
    """The smallest and the largest n of the scorer's means, with half the widest 95 % interval at that n in points."""
    counts = {mean.n for model in evaluation.models for mean in model.oracle.values()}
    return [(n, f"{98 / math.sqrt(n):.0f}") for n in sorted({min(counts), max(counts)})] if counts else []


def _unseen(character: str) -> bool:
    if character in "\n\t":
        return False
    # `isprintable` accepts no space but the plain one; the wide and the narrow ones harm nobody.
    hidden = not character.isprintable() and unicodedata.category(character) != "Zs"
    return hidden or UNSEEN.match(character) is not None


def _finalize(value: object) -> object:
    if value is None:
        return ABSENT
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    raise TypeError(f"{value!r} would be printed without a format")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["absent"] = ABSENT
    for filter_ in (percent, decimal, signed, significant, rules):
        environment.filters[filter_.__name__] = filter_
    return environment
