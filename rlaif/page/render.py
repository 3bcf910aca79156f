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
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup, escape

from rlaif.page.charts import curve_svg
from rlaif.records.report import Curve, Evaluation, ModelEvaluation, Report

FOLDER = Path(__file__).resolve().parent
MAX_TEXT = 4000  # characters of one text that are shown
ABSENT = Markup('<abbr class="absent" title="not available: nothing was measured here">–</abbr>')
# Letters and marks that Unicode calls printable and no font draws: fillers, and the supplementary variation selectors,
# which can smuggle text.
UNSEEN = re.compile("[\u115f\u1160\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")
PLAIN = re.compile(r"[\x20-\x7e\n\t]*")


class Row(NamedTuple):
    """One quantity of the before/after table: a cell for every model, formatted, and where it is a share, its bar."""

    name: str
    note: str
    cells: list[str | None]
    shares: list[float | None]  # empty where the quantity is no share
    change: str | None


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
    """`text`, escaped; runs of characters that cannot be seen, or that reorder their neighbours, by name in a <mark>.

    Line feeds and tabs stay, and spaces of any width. At most `MAX_TEXT` characters are shown, and it is said how many
    are not.
    """
    shown, rest = text[:MAX_TEXT], len(text) - MAX_TEXT
    if PLAIN.fullmatch(shown):
        marked = escape(shown)
    else:
        runs = ((odd, list(run)) for odd, run in groupby(shown, key=_unseen))
        marked = Markup("").join(
            Markup("<mark>{}</mark>").format(" ".join(map(_name, run))) if odd else escape("".join(run))
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
        return f"{hundredths:.0f} %"
    if 0 < hundredths < 1:
        return f"{hundredths:.1f} %" if hundredths >= 0.05 else "< 0.1 %"
    if 99 < hundredths < 100:
        return f"{hundredths:.1f} %" if hundredths < 99.95 else "> 99.9 %"
    return f"{decimal(hundredths, 1)} %"


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
    """A number of unknown size in four significant digits."""
    return f"{value:.4g}".replace("-", "−")


def oracle_rows(evaluation: Evaluation) -> list[Row]:
    """What the scorer says of each model, a row a key in the order of first appearance.

    A key whose means all lie in [0, 1] is read as a share.
    """
    rows = []
    for key in dict.fromkeys(key for model in evaluation.models for key in model.oracle):
        means = [model.oracle.get(key) for model in evaluation.models]
        counts = sorted({mean.n for mean in means if mean is not None})
        note = f"n {counts[0]}" if len(counts) == 1 else f"n {counts[0]}–{counts[-1]}"
        rows.append(_row(key, note, [None if mean is None else mean.value for mean in means]))
    return rows


def text_rows(models: list[ModelEvaluation]) -> list[Row]:
    """What each model's replies look like, whatever they say."""
    return [
        _row("words", "a reply", [m.words for m in models], share=False),
        _row("longest repeat", "words", [m.longest_repeat for m in models], share=False),
        _row("distinct replies", "of all", [m.distinct for m in models]),
        _row("distinct word pairs", "of all", [m.distinct_2 for m in models]),
        _row("finished", "ended by itself", [m.finished for m in models]),
    ]


def _row(name: str, note: str, values: list[float | None], share: bool | None = None) -> Row:
    known = [value for value in values if value is not None]
    share = all(0 <= value <= 1 for value in known) if share is None else share
    difference = None
    if len(values) > 1 and values[0] is not None and values[-1] is not None:
        difference = values[-1] - values[0]
    if share:
        points = None if difference is None else f"{signed(100 * difference, 0)} pt"
        return Row(name, note, [percent(value) for value in values], values, points)
    return Row(name, note, [decimal(value, 1) for value in values], [], signed(difference, 1))


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
    # A space is the one separator that `isprintable` accepts; the others, but for line ends, are wide or narrow spaces.
    hidden = not character.isprintable() and (not character.isspace() or character in "\r\v\f\x85\u2028\u2029")
    return hidden or UNSEEN.match(character) is not None


def _name(character: str) -> str:
    """A control picture for an ASCII control character, the code point for all others."""
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"U+{code:04X}"


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
    for filter_ in (percent, decimal, signed, significant):
        environment.filters[filter_.__name__] = filter_
    return environment
