"""Every shape of published labels loads with `datasets`, and TRL takes it for what it is."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import pytest

from rlaif.records.errors import InputError
from rlaif.records.export import SHAPES, Counts, Keep, write
from rlaif.records.label import AxisLabel, Label
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message


def label(number: int, p: float | None, **more: Any) -> Label:
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content=f"=question {number}"),
    ]
    return Label(
        pair=Pair(id=f"p{number}", messages=messages, responses=("+one", "@two\ud800")),
        **{
            "source": "critic",
            "critic": "c",
            "constitution": "k@1.0.0",
            "p": p,
            "weight": 1.0,
            "axes": {"x": AxisLabel(p=0.3, coverage=0.5)},
            "votes": [],
            "order_consistent": True,
            "flags": [],
            **more,
        },
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def export(folder: Path, kind: str, labels: list[Label], **options: Any) -> tuple[Counts, Any]:
    counts = write(folder / kind, labels, kind, **options)
    return counts, datasets.load_dataset(str(folder / kind))


MANY = [label(i, 0.8 if i % 2 else 0.1) for i in range(60)]


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_loads_with_both_splits(tmp_path: Path, kind: str) -> None:
    counts, loaded = export(tmp_path, kind, MANY)
    assert set(loaded) == {"train", "test"}
    assert (len(loaded["train"]), len(loaded["test"])) == (counts.train, counts.test)
    assert counts.train + counts.test == (120 if kind == "unpaired" else 60) and counts.left_out == 0
    assert loaded["train"].column_names == list(SHAPES[kind].columns)
    assert loaded["train"].features == loaded["test"].features


def test_what_stands_in_the_columns(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "=question 1"}]
    one, two = ([{"role": "assistant", "content": text}] for text in ("+one", "@two\ufffd"))
    own = [label(1, 0.25)]
    rows = {kind: [row for split in export(tmp_path, kind, own)[1].values() for row in split] for kind in SHAPES}
    (row,) = rows["preference"]
    assert (row["prompt"], row["chosen"], row["rejected"]) == (prompt, two, one)
    assert (row["p_chosen"], row["margin"], row["weight"], row["critic"]) == (0.75, 0.5, 1.0, "c")
    assert [(r["prompt"], r["completion"], r["label"]) for r in rows["unpaired"]] == [
        (prompt, two, True),
        (prompt, one, False),
    ]
    assert rows["sft"][0]["messages"] == [*prompt, *two]
    assert rows["prompts"] == [{"prompt": prompt, "id": "p1"}]
    assert (rows["implicit"][0]["chosen"], rows["implicit"][0]["rejected"]) == ([*prompt, *two], [*prompt, *one])


def test_a_prompt_is_exported_once_and_stays_in_its_split(tmp_path: Path) -> None:
    twice = [x.model_copy(update={"pair": x.pair.model_copy(update={"id": f"again-{x.pair.id}"})}) for x in MANY]
    counts, loaded = export(tmp_path, "prompts", [*MANY, *twice])
    assert counts.train + counts.test == 60
    _, preference = export(tmp_path, "preference", MANY)
    assert sorted(preference["test"]["id"]) == sorted(loaded["test"]["id"])


def test_what_is_kept(tmp_path: Path) -> None:
    labels = [
        label(0, 0.9),
        label(1, 0.55),
        label(2, 0.9, weight=0.5),
        label(3, 0.9, order_consistent=False),
        label(4, None, weight=0.0),
        label(5, 0.9, order_consistent=None, source="human"),  # no order to be consistent in
    ]

    def kept(keep: Keep) -> set[str]:
        _, loaded = export(tmp_path / str(keep), "preference", labels, keep=keep)
        return {name for split in loaded.values() for name in split["id"]}

    assert kept(Keep()) == {"p0", "p1", "p2", "p3", "p5"}
    assert kept(Keep(min_margin=0.2)) == {"p0", "p2", "p3", "p5"}
    assert kept(Keep(min_weight=0.6)) == {"p0", "p1", "p3", "p5"}
    assert kept(Keep(consistent_only=True)) == {"p0", "p1", "p2", "p5"}


def test_another_data_set_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    for number, (folder, p) in enumerate((("a", 0.9), ("b", 0.8), ("a", 0.7))):
        _, loaded = export(tmp_path / folder, "preference", [label(i, p) for i in range(20)])
        assert set(loaded["train"]["p_chosen"]) == {p}, f"load {number}"


def test_a_split_without_rows_is_not_named(tmp_path: Path) -> None:
    _, loaded = export(tmp_path, "sft", [label(1, 0.9)])
    assert len(loaded) == 1
    with pytest.raises(InputError, match="no label is left"):
        write(tmp_path / "none", [label(1, 0.5)], "sft")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("kind", "rows"), [("preference", 3), ("implicit", 3), ("unpaired", 2), ("sft", 1)])
def test_nobody_wins_a_tie_or_an_abstention(tmp_path: Path, kind: str, rows: int) -> None:
    labels = [label(0, 0.9), label(1, 0.5), label(2, 0.52, weight=0.0, abstained=True)]
    counts = write(tmp_path / kind, labels, kind)
    assert counts.train + counts.test == rows
    assert counts.left_out == (0 if rows == 3 else 2)


def test_labels_of_one_axis(tmp_path: Path) -> None:
    human = label(9, 1.0, source="human", axes={})
    counts, loaded = export(tmp_path, "preference", [*MANY, human], axis="x")
    assert counts == Counts(len(loaded["train"]), len(loaded["test"]), 1)
    assert set(loaded["train"]["p_chosen"]) == {0.7} and set(loaded["train"]["weight"]) == {0.5}
    assert set(loaded["train"]["axis"]) == {"x"}


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "d", MANY, "sft")
    write(tmp_path / "d", MANY, "prompts")  # one data set takes another's place
    assert "`prompts`" in (tmp_path / "d/README.md").read_text()
    (tmp_path / "d/mine.txt").write_text("precious")
    with pytest.raises(InputError, match="other things"):
        write(tmp_path / "d", MANY, "sft")
    with pytest.raises(InputError, match=r"no format 'dpo'.*preference"):
        write(tmp_path / "e", MANY, "dpo")
    assert (tmp_path / "d/mine.txt").read_text() == "precious" and not (tmp_path / "e").exists()


def test_the_card_says_who_chose(tmp_path: Path) -> None:
    write(tmp_path / "d", [label(0, 0.9), label(1, 1.0, source="human")], "preference")
    card = (tmp_path / "d/README.md").read_text()
    assert "a critic model under a constitution, asked in both orders, people's choices" in card
    write(tmp_path / "d", [label(0, 0.9)], "preference")
    assert "people" not in (tmp_path / "d/README.md").read_text()


@pytest.fixture(scope="module")
def trl() -> Iterator[ModuleType]:
    """TRL's own functions. rlaif does not depend on it: `pip install --no-deps --target DIR trl`, and RLAIF_TRL=DIR."""
    sys.path.insert(0, os.environ.get("RLAIF_TRL", ""))
    try:
        yield importlib.import_module("trl.data_utils")
    except ModuleNotFoundError:
        pytest.skip("TRL is not installed: pip install --no-deps --target DIR trl, then set RLAIF_TRL=DIR")
    finally:
        sys.path.pop(0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHAPES)
def test_trl_takes_it_for_what_it_is(tmp_path: Path, kind: str, trl: ModuleType) -> None:
    _, loaded = export(tmp_path, kind, MANY)
    for split in loaded.values():
        assert all(trl.is_conversational(row) for row in split)
    row = loaded["train"][0]
    if kind in ("preference", "implicit"):
        ready = trl.maybe_extract_prompt(row)
        assert [m["role"] for m in ready["prompt"]] == ["system", "user"]
        assert [m["role"] for m in ready["chosen"]] == [m["role"] for m in ready["rejected"]] == ["assistant"]
        columns = ["prompt", "chosen", "rejected"]
        explicit = loaded["train"].map(trl.maybe_extract_prompt).select_columns(columns)
        unpaired = trl.maybe_unpair_preference_dataset(explicit)
        assert len(unpaired) == 2 * len(loaded["train"]) and sum(unpaired["label"]) == len(loaded["train"])
    if kind in ("unpaired", "sft", "prompts"):
        assert trl.maybe_extract_prompt(dict(row)) == row  # nothing is left to extract


@pytest.mark.slow
def test_trl_renders_rows_with_a_chat_template(tmp_path: Path, trl: ModuleType) -> None:
    from tests.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    _, preference = export(tmp_path, "preference", MANY)
    text = trl.apply_chat_template(preference["train"][0], tokenizer)
    assert text["prompt"].endswith("assistant\n") and "one" in text["chosen"] + text["rejected"]
    _, unpaired = export(tmp_path, "unpaired", MANY)
    assert "completion" in trl.apply_chat_template(unpaired["train"][0], tokenizer)
    _, sft = export(tmp_path, "sft", MANY)
    assert "text" in trl.apply_chat_template(sft["train"][0], tokenizer)
