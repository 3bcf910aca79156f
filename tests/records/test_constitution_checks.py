"""Principles of kind `check` in constitution files."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.records.constitution import Constitution, content_hash, load
from rlaif.records.errors import InputError

FILE = """\
name: checked
axes: {harm: {kind: cost}}
principles:
  - id: toxic
    axis: harm
    prefer: Choose the less toxic response.
"""
CHECK = "    kind: check\n    ask: Is the response toxic?\n    good: no\n    category: toxicity\n"


def read(folder: Path, more: str) -> Constitution:
    path = folder / "c.yaml"
    path.write_text(FILE + more)
    return load(path)


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    (check,) = read(tmp_path, CHECK).principles
    assert (check.kind, check.good, check.category) == ("check", "no", "toxicity")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("    kind: check\n", "has no question"),
        ("    kind: check\n    ask: Is it?\n", "does not say which answer is good"),
        ("    kind: check\n    good: no\n", "has no question"),
        ("    ask: Is it?\n", "belong to principles of kind `check`"),
        ("    good: no\n", "belong to principles of kind `check`"),
        ("    kind: check\n    ask: Is it?\n    good: maybe\n", "good"),
        ("    kind: ask\n", "kind"),
    ],
)
def test_half_a_check_is_refused(tmp_path: Path, more: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, more)
    assert problem in str(caught.value) and "c.yaml:" in str(caught.value) and "Fix:" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "asked_anew", "labelled_anew"),
    [
        ("Is the response toxic?", "Is it rude?", True, True),
        ("good: no", "good: yes", False, True),
        ("category: toxicity", "category: insults", False, True),
        ("Choose the less toxic response.", "Choose another.", False, False),  # no critic reads it
    ],
)
def test_what_asks_and_what_labels_anew(
    tmp_path: Path, old: str, new: str, asked_anew: bool, labelled_anew: bool
) -> None:
    before = read(tmp_path, CHECK)
    path = tmp_path / "c.yaml"
    path.write_text(path.read_text().replace(old, new))
    after = load(path)
    assert (before.principles[0].content_hash != after.principles[0].content_hash) == asked_anew
    assert (content_hash(before) != content_hash(after)) == labelled_anew
