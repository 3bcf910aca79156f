"""The published data set loads as the ecosystem expects, and says who is chosen."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from rlaif.critique import aggregate
from rlaif.records import dataset
from rlaif.records.label import Label
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from tests.critique.judged import certain, constitution, judgement

RULES = constitution(("a", "x", 1.0), ("b", "y", 1.0))


def label(number: int, p_a: float, p_b: float) -> Label:
    pair = Pair(
        id=f"p{number}", messages=[Message(role="user", content=f"question {number}")], responses=("one", "two\ud800")
    )
    return aggregate.label(pair, RULES, [*certain("a", p_a), *certain("b", p_b)])


def test_loads_as_conversational_preferences(tmp_path: Path) -> None:
    labels = [label(i, 0.9, 0.2) for i in range(200)]
    dataset.write(tmp_path / "d", labels, ["x", "y"])
    loaded = datasets.load_dataset(str(tmp_path / "d"), "default")
    assert set(loaded) == {"train", "test"}
    assert len(loaded["train"]) + len(loaded["test"]) == 200
    assert 5 < len(loaded["test"]) < 40
    row = loaded["train"][0]
    assert row["prompt"][0]["role"] == "user"
    assert row["chosen"] == [{"role": "assistant", "content": "one"}]
    assert row["rejected"] == [{"role": "assistant", "content": "two\ufffd"}]
    assert row["p_chosen"] == pytest.approx(0.55)
    assert row["margin"] == pytest.approx(0.1)
    on_y = datasets.load_dataset(str(tmp_path / "d"), "axis-y")["train"][0]
    assert on_y["rejected"][0]["content"] == "one"  # the axis disagrees with the overall label
    assert on_y["p_chosen"] == pytest.approx(0.8)


def test_pairs_that_nobody_answered_are_not_published() -> None:
    empty = aggregate.label(label(0, 0.5, 0.5).pair, RULES, [judgement("a", "ab"), judgement("a", "ba")])
    assert dataset.row(empty) is None
    assert dataset.row(empty, "x") is None


def test_a_prompt_stands_in_one_split_only() -> None:
    row = [{"role": "user", "content": "same"}]
    assert dataset.is_test(row) == dataset.is_test(list(row))
