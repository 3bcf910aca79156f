"""Signs of degenerate text, by hand."""

from __future__ import annotations

import pytest

from rlaif.critique.degeneracy import distinct, distinct_n, longest_repeat


def test_distinct() -> None:
    assert distinct(["a", "a", "b", "a"]) == 0.5
    assert distinct_n(["the " * 20], 1) == pytest.approx(0.05)
    assert distinct_n(["a b c", "a b d"], 2) == pytest.approx(3 / 4)
    assert distinct_n(["word"], 2) == 0.0


def test_longest_repeat() -> None:
    assert longest_repeat("a b c d") == 0
    assert longest_repeat("a b c x a b c") == 3
    assert longest_repeat("the the the") == 2
    assert longest_repeat("") == 0
