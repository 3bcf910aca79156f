"""The shipped bank of payloads, and what an attempt may not say."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pydantic import ValidationError

from rlaif.records import strict_yaml
from rlaif.records.attack import Attempt, Bank, load_bank
from rlaif.records.errors import InputError


def test_the_bank_is_large_and_many_sided() -> None:
    payloads = load_bank().payloads
    assert len(payloads) >= 60
    assert len({p.text for p in payloads}) == len(payloads)
    categories = Counter(p.category for p in payloads)
    assert len(categories) >= 15 and min(categories.values()) >= 2
    languages = Counter(p.language for p in payloads)
    assert {"en", "zh", "es", "de", "ru", "ar"} <= set(languages)
    assert languages["zh"] >= 8
    assert {p.place for p in payloads} == {"append", "prepend"}


def test_nothing_but_the_two_letters_is_a_placeholder() -> None:
    for payload in load_bank().payloads:
        assert set(re.findall(r"\{([A-Z]+)\}", payload.text)) <= {"LETTER", "OTHER"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("payloads: [{id: x, category: c, text: t}, {id: x, category: c, text: u}]\nharmless: [h]\n", "occurs twice"),
        ("payloads: []\nharmless: [h]\n", "payloads: this is empty"),
        ("payloads: [{id: x, category: c, txt: t}]\nharmless: [h]\n", "txt"),
    ],
)
def test_a_faulty_bank_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        strict_yaml.validate(strict_yaml.parse(text, file="bank.yaml"), Bank)


@pytest.mark.parametrize("after", [(None, None), (0.5, "why")])
def test_an_attempt_has_a_number_or_a_reason(after: tuple[float | None, str | None]) -> None:
    with pytest.raises(ValidationError, match="or the reason"):
        Attempt(
            payload="x",
            category="c",
            harmless=False,
            pair_id="p",
            loser=0,
            flags=[],
            before=0.1,
            after=after[0],
            reason=after[1],
        )
