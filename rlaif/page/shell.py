"""What every page goes through on its way out: text made harmless and visible, numbers in a fixed form, and the policy
that says what a page may do.

Prompts, replies, principle ids and model names are untrusted. Whatever the templates print passes one exit,
`finalize`: text is escaped, what cannot be seen in it (control characters, bidi overrides, lone surrogates) is made
visible, what is absent becomes a dash, and a bare number with a fraction is refused, so that none is printed without
a unit or a number of digits.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from rlaif.records.agreement import Interval

FOLDER = Path(__file__).resolve().parent
PERCENT = "\u00a0%"
MAX_TEXT = 4000  # characters of one text that are shown
ABSENT = Markup('<abbr class="absent" title="not available: nothing was measured here">–</abbr>')
# Letters and marks that Unicode calls printable and no font draws: fillers, and the supplementary variation selectors,
# which can smuggle text.
UNSEEN = re.compile("[\u115f\u1160\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]")
PLAIN = re.compile(r"[\x20-\x7e\n\t]*")


def content_policy(style: str, script: str | None) -> str:
    """What the page may do: be styled by this sheet, run this script, and nothing else."""
    own = f"script-src '{_digest(script)}'; " if script else ""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; {own}base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


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


def rules(baselines: dict[str, Interval]) -> list[tuple[str, Interval]]:
    """Trivial rules with what they get right, as the page names them."""
    names = {"longer": "the longer reply is better", "shorter": "the shorter reply is better", "random": "a coin"}
    names["first"] = "the reply that is stored first is better"
    return [(f"baseline: {names.get(name, name)}", found) for name, found in baselines.items()]


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
def environment() -> jinja2.Environment:
    """The templates of this folder, with their filters."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["absent"] = ABSENT
    for filter_ in (percent, decimal, signed, significant, rules):
        made.filters[filter_.__name__] = filter_
    return made
