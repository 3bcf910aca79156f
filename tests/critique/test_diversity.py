"""METEOR by hand, and random pairs of replies to different prompts."""

from __future__ import annotations

from math import comb
from typing import Any

import pytest

from rlaif.critique import diversity
from rlaif.critique.diversity import NoSynonyms, across_prompts, meteor


@pytest.fixture(autouse=True)
def without_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers do not depend on what this machine has installed."""
    monkeypatch.setattr(diversity, "_synonyms", NoSynonyms)


def test_meteor_by_hand() -> None:
    # Three matches in one chunk: F = 1, penalty 0.5 / 27.
    assert meteor("the cat sat", "the cat sat") == pytest.approx(0.981481, abs=1e-6)
    # Three matches of four in two chunks: F = 0.75, penalty 0.5 * (2/3)^3 = 0.148148.
    assert meteor("a b c d", "a b x d") == pytest.approx(0.638889, abs=1e-6)
    # Two matches in one chunk: P = 1, R = 0.5, F = 0.5 / (0.9 + 0.05), penalty 0.5 / 8; recall counts more.
    assert meteor("a b", "a b c d") == pytest.approx(0.5 / 0.95 * 0.9375)
    assert meteor("a b c d", "a b") == pytest.approx(0.5 / 0.55 * 0.9375)
    assert meteor("a b", "c d") == 0 and meteor("", "a") == 0 and meteor("", "") == 0


def test_stems_and_case_match_and_synonyms_do_not() -> None:
    assert meteor("Baking breads slowly", "bake bread slowly") == pytest.approx(0.981481, abs=1e-6)
    assert meteor("big", "huge") == 0


class Big:
    """A thesaurus of one entry, with the methods of NLTK's WordNet reader that are used."""

    def synsets(self, word: str) -> list[Any]:
        return [self] if word == "big" else []

    def lemmas(self) -> list[Any]:
        return [self]

    def name(self) -> str:
        return "huge"


def test_synonyms_match_where_there_is_a_thesaurus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert diversity.stages() == ("exact", "stem")
    monkeypatch.setattr(diversity, "_synonyms", Big)
    assert meteor("big", "huge") == 0.5  # one match in one chunk
    assert diversity.stages() == ("exact", "stem", "synonym")


def test_without_its_data_wordnet_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from nltk import data

    monkeypatch.setattr(data, "path", [])
    monkeypatch.setattr(diversity, "_synonyms", diversity._synonyms.__wrapped__)
    assert diversity.stages() == ("exact", "stem")


def test_all_pairs_of_a_few_replies() -> None:
    found = across_prompts(["a b", "a b c d", "x y"], 100, 0)
    assert found is not None and found.pairs == 3 and found.stages == ["exact", "stem"]
    both_ways = (0.5 / 0.95 * 0.9375 + 0.5 / 0.55 * 0.9375) / 2
    assert found.value == pytest.approx(both_ways / 3)  # the third shares nothing with the others


def test_pairs_are_drawn_once_each_and_never_a_reply_with_itself() -> None:
    pairs = [diversity._pair(rank) for rank in range(comb(50, 2))]
    assert len(set(pairs)) == comb(50, 2) and all(0 <= i < j < 50 for i, j in pairs)
    replies = [f"w{i}" for i in range(50)]  # nothing in common but with itself
    found = across_prompts(replies, 200, 1)
    assert found is not None and (found.value, found.pairs) == (0, 200)


def test_the_seed_decides_and_collapse_shows() -> None:
    replies = [f"reply {i % 7} says {i % 5}" for i in range(40)]
    assert across_prompts(replies, 30, 3) == across_prompts(replies, 30, 3) != across_prompts(replies, 30, 4)
    collapsed = across_prompts(["all the same"] * 40, 30, 3)
    assert collapsed is not None and collapsed.value == pytest.approx(0.981481, abs=1e-6)


def test_a_single_reply_has_no_figure() -> None:
    assert across_prompts(["alone"], 10, 0) is None and across_prompts([], 10, 0) is None
