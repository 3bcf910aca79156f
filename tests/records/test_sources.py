"""Other sources than critics: what each kind says, by hand, and every fault with its line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.records.errors import InputError
from rlaif.records.sources import Kind, Said, SourceFile, final_answer, parse_source, read_source


def read(folder: Path, kind: Kind, *rows: Any, most: int | None = None) -> list[Said]:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_source(SourceFile(kind, str(path), 1.0), most=most))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("human=a.jsonl", SourceFile("human", "a.jsonl", 1.0)),
        ("labelled=dir/a.jsonl@2.5", SourceFile("labelled", "dir/a.jsonl", 2.5)),
        ("self-consistency=me@home.jsonl", SourceFile("self-consistency", "me@home.jsonl", 1.0)),
        ("human=me@home.jsonl@3", SourceFile("human", "me@home.jsonl", 3.0)),
        ("human=owner/name:train@0.5", SourceFile("human", "owner/name:train", 0.5)),
    ],
)
def test_how_a_source_is_written(text: str, expected: SourceFile) -> None:
    assert parse_source(text) == expected


@pytest.mark.parametrize("text", ["a.jsonl", "people=a.jsonl", "human=", "human=a@0", "human=a@-1", "human=a@nan"])
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(InputError, match="Fix:") as caught:
        parse_source(text, field="--source")
    assert repr(text) in caught.value.problem and caught.value.field == "--source"


def test_labels_mention_a_file_without_its_folder() -> None:
    assert parse_source("human=some/where/gold.jsonl").name == "gold.jsonl"


def test_choices_of_people(tmp_path: Path) -> None:
    said = read(
        tmp_path,
        "human",
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "responses": ["a", "b"], "preferred": 1},
        {"prompt": "q", "responses": ["a", "b"]},  # nobody chose: says nothing
        {"prompt": "q", "chosen": "same", "rejected": "same"},  # nothing to choose between
    )
    assert [(s.pair.responses, s.p) for s in said] == [(("good", "bad"), 1.0), (("a", "b"), 0.0)]


def test_labelled_texts_are_compared_within_their_prompt(tmp_path: Path) -> None:
    said = read(
        tmp_path,
        "labelled",
        {"id": "x", "prompt": "q", "text": "good", "label": True},
        {"prompt": "other", "text": "lonely", "label": False},
        {"id": "y", "prompt": "q", "response": "bad", "label": False},
        {"id": "z", "prompt": "q", "text": "also good", "label": 1},
    )
    found = {(s.pair.id, s.pair.responses): s.p for s in said}
    assert found == {("x:y", ("good", "bad")): 1.0, ("y:z", ("bad", "also good")): 0.0}


def test_scores_count_by_their_difference_in_the_spread_of_the_file(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "text": t, "label": x} for t, x in (("a", -3), ("b", 1), ("c", 5.0))]
    assert [s.p for s in read(tmp_path, "labelled", *rows)] == [0.25, 0.0, 0.25]  # -4, -8, -4 of 8
    shifted = [{**row, "label": 10 * row["label"] + 7} for row in rows]  # type: ignore[operator]
    assert [s.p for s in read(tmp_path, "labelled", *shifted)] == [0.25, 0.0, 0.25]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is 3, or rather 4.", "4"),
        ("1,234.50 in all", "1234.5"),
        (r"first 7, so \boxed{\frac{1}{2}} of 9", r"\frac{1}{2}"),
        ("Answer: Paris.\nThat was in 1789.", "paris"),
        ("The answer is: **-0**", "0"),
        ("answer: 3\nNo. Answer: 100", "100"),
        ("no idea", None),
        ("", None),
    ],
)
def test_final_answers(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_the_commoner_answer_is_better(tmp_path: Path) -> None:
    row = {"id": "r", "prompt": "2+2?", "responses": ["it is 4", "4.0", "maybe 5", "who knows", "four: 4"]}
    said = {s.pair.id: s.p for s in read(tmp_path, "self-consistency", row)}
    assert said == {"r:0-2": 0.75, "r:1-2": 0.75, "r:2-4": 0.25}  # three say 4, one says 5


def test_answers_may_be_given(tmp_path: Path) -> None:
    row = {"id": "r", "prompt": "q", "responses": ["1", "2", "3"], "answers": ["Yes", "no", "yes "]}
    assert {s.pair.id: s.p for s in read(tmp_path, "self-consistency", row)} == {"r:0-1": 2 / 3, "r:1-2": 1 / 3}


def test_a_tournament_limits_the_comparisons(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "text": f"t{i}", "label": i} for i in range(10)]
    assert len(read(tmp_path, "labelled", *rows)) == 45
    assert len(read(tmp_path, "labelled", *rows, most=7)) == 7
    many = [{"prompt": "q", "text": f"t{i}", "label": i} for i in range(500)]
    with pytest.raises(InputError, match=r"in\.jsonl:1: this prompt has 500 responses, .*124750.*most_pairs"):
        read(tmp_path, "labelled", *many)


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("human", [{"prompt": "q", "responses": ["a", "b"]}], r"in\.jsonl: no row says which"),
        ("human", [{"question": "q"}], r"in\.jsonl:1: this row is no pair"),
        ("labelled", [{"prompt": "q", "text": "a"}], r"in\.jsonl:1: label: .*true, false or a number"),
        ("labelled", [{"prompt": "q", "text": "a", "label": "good"}], r"in\.jsonl:1: label"),
        ("labelled", [{"prompt": "q", "text": "a", "label": float("nan")}], r"in\.jsonl:1: label"),
        ("labelled", [{"prompt": "q", "label": 1}], r"in\.jsonl:1: text: a response must be text"),
        ("labelled", [{"text": "a", "label": 1}], r"in\.jsonl:1: prompt"),
        ("labelled", [{"prompt": "q", "text": "a", "label": 1}] * 2, r"in\.jsonl: no prompt has two texts"),
        ("self-consistency", [{"prompt": "q", "responses": ["1"]}], r"in\.jsonl:1: responses: two responses"),
        ("self-consistency", [{"prompt": "q", "responses": ["1", "2"]}], r"in\.jsonl: no row has an answer"),
        ("self-consistency", [{"prompt": "q", "responses": ["1", 2]}], r"in\.jsonl:1: responses\[1\]"),
        (
            "self-consistency",
            [{"prompt": "q", "responses": ["1", "2"], "answers": ["1"]}],
            r"in\.jsonl:1: answers: there must be an answer for every response",
        ),
        (
            "self-consistency",
            [{"prompt": "q", "responses": ["1", "2"], "answers": ["1", {}]}],
            r"in\.jsonl:1: answers\[1\]: an answer must be text or a number",
        ),
    ],
)
def test_faults(tmp_path: Path, kind: Kind, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, kind, *rows)
    assert "Fix:" in str(caught.value)


def test_human_choices_of_the_real_file(data_folder: Path) -> None:
    source = parse_source(f"human={data_folder / 'hh-rlhf/harmless-base.jsonl'}")
    said = list(read_source(source))
    assert len(said) > 1450 and {s.p for s in said} == {1.0}
