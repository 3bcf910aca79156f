"""Cards as Markdown. They are a pure function of the card's record.

Whatever the templates print passes one exit, `finalize`: text becomes a code span that it cannot end, in which no
markup, link, formula or HTML means anything; what cannot be seen in it is made visible; what is absent is said to be
unknown. Words of our own stand in the templates, or are `Markup`, which here means Markdown.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rlaif.records.card import Card

FOLDER = Path(__file__).resolve().parent
LONGEST = 300  # characters of one value
# Control, format, surrogate, private and unassigned characters, line and paragraph separators.
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Words that mean nothing in Markdown, wherever they stand.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 ,.;:()'’“”%/-]*")
LINK = re.compile(r"//|www\.", re.IGNORECASE)
# Letters and marks that no font draws: fillers, and variation selectors, which can smuggle text.
BLANK = re.compile("[\u115f\u1160\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def shown(text: str) -> str:
    """One line of text in which every character can be seen and none reorders its neighbours."""
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"
    return "".join(f"<U+{ord(c):04X}>" if _unseen(c) else c for c in re.sub(r"[ \t\r\n]+", " ", short).strip())


def span(text: str) -> Markup:
    """Text as a code span, also inside a table: its fence is longer than any row of backticks in it."""
    line = shown(text)
    if not line:
        return Markup("(empty)")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    # A pipe would end the cell: one of another script looks like it, and holds in every renderer.
    return Markup(f"{fence}{pad}{line.replace('|', '¦')}{pad}{fence}")


def words(text: str) -> Markup:
    """Plain words as they are, and anything else as a code span."""
    return Markup(text) if PLAIN.fullmatch(text) and not LINK.search(text) and len(text) <= LONGEST else span(text)


def quoted(text: str) -> Markup:
    """Text of several lines, in a fenced block that it cannot end."""
    lines = [shown(line) for line in text.splitlines()] or [""]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", "\n".join(lines))), default=0))
    return Markup("\n".join([f"{fence}text", *lines, fence]))


def render(template: str, card: Card, **values: Any) -> str:
    """One card. It always encodes as UTF-8."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        autoescape=True,  # so that what macros return passes as `Markup`; `_finalize` leaves nothing to escape
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quoted": quoted, "words": words}
    return environment.get_template(f"{template}.md.jinja").render(card=card, **values)


def _finalize(value: object) -> str:
    if isinstance(value, Markup):
        return value
    if value is None:
        return "unknown"
    if isinstance(value, bool | float):
        raise TypeError(f"a card says {value!r} in words")
    return f"{value:,}" if isinstance(value, int) else span(str(value))


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in UNSEEN or BLANK.match(character) is not None
