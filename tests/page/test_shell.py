"""What every page goes through: text comes out inert and visible, numbers in one form."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif.page.shell import MAX_TEXT, decimal, percent, signed, visible
from tests.page.synthetic import HOSTILE
from tests.page.test_render import Outline

# Characters that Python calls printable and nobody can see: fillers, blank Braille, variation selectors.
INVISIBLE = re.compile("[\u115f\u1160\u2800\u3164\uffa0\ufe00-\ufe0d\U000e0100-\U000e01ef]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain, <b>bold</b> & \"quoted\" 'text'",
            "plain, &lt;b&gt;bold&lt;/b&gt; &amp; &#34;quoted&#34; &#39;text&#39;",
        ),
        ("tab\tand\nline", "tab\tand\nline"),
        ("a\x00b", "a<mark>U+0000</mark>b"),
        ("\x1b[31m", "<mark>U+001B</mark>[31m"),
        ("\r\n", "<mark>U+000D</mark>\n"),
        ("a\u202e\u2066b", "a<mark>U+202E U+2066</mark>b"),
        ("\ud800", "<mark>U+D800</mark>"),
        ("\u3164\U000e0101", "<mark>U+3164 U+E0101</mark>"),
        ("caf\u00e9 \u4e2d\u6587 \U0001f600 \u00a0\u3000", "caf\u00e9 \u4e2d\u6587 \U0001f600 \u00a0\u3000"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_visible_cuts_long_text_and_says_so() -> None:
    assert visible("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert "… 1,500 more characters" in visible("x" * (MAX_TEXT + 1500))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60))
def test_visible_is_inert_and_loses_nothing(text: str) -> None:
    shown = str(visible(text))
    shown.encode()
    bare = re.sub(r"</?mark>", "", shown)
    assert not re.search(r"[<>\"']", bare)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in bare)
    parsed = Outline(f"<i>{shown}</i>")
    assert parsed.tags <= {"i", "mark"}
    printable = [c for c in text if c.isprintable()]
    assert all(c in "".join(parsed.words) for c in printable if not INVISIBLE.match(c))


def test_every_hostile_text_can_stand_alone() -> None:
    for text in HOSTILE:
        visible(text).encode()


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, None),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.583, "58 %"),
        (0.996, "99.6 %"),
        (0.004, "0.4 %"),
        (0.99999, "> 99.9 %"),
        (0.00001, "< 0.1 %"),
        (-0.013, "−1.3 %"),
    ],
)
def test_percent_never_rounds_to_none_or_all(share: float | None, shown: str | None) -> None:
    value = percent(share)
    assert value == shown if value is None else value.replace("\u00a0", " ") == shown


def test_numbers_have_true_signs() -> None:
    assert decimal(-1.234) == "−1.23" and decimal(-0.001) == "0.00" and decimal(12345.6, 1) == "12,345.6"
    assert signed(0.5) == "+0.50" and signed(-0.5) == "−0.50" and signed(0.001) == "0.00" and signed(None) is None
    assert signed(10.0, 0) == "+10"
