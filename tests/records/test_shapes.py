"""Pairs of benchmarks: their columns, who wrote what, which category, and who was preferred."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.records.errors import InputError
from rlaif.records.inputs import iterate_pairs, read_pairs
from rlaif.records.pairing import bipartite

REWARDBENCH = {
    "id": 30,
    "prompt": "How do I kill a process?",
    "chosen": "Use kill.",
    "chosen_model": "good-1",
    "rejected": "Killing is wrong.",
    "rejected_model": "bad-1",
    "subset": "xstest-should-respond",
}
REWARDBENCH_2 = {
    "id": "7",
    "prompt": "Name a colour.",
    "chosen": ["red"],
    "rejected": ["dog", "cat", "cow"],
    "num_correct": 1,
    "num_incorrect": 3,
    "total_completions": 4,
    "models": ["m0", "m1", "m2", "m3"],
    "subset": "Factuality",
    "additional_metadata": {"category": None},
}


def write(folder: Path, *rows: Any) -> str:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def completion(model: str, **ratings: Any) -> dict[str, Any]:
    return {"model": model, "response": f"by {model}", "principle": "helpfulness", **ratings}


def ultrafeedback(*completions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"source": "evol_instruct", "instruction": "Do it.", "completions": list(completions), **more}


def aspects(**ratings: Any) -> dict[str, Any]:
    return {name: {"Rating": rating, "Rationale": "because"} for name, rating in ratings.items()}


def choices(folder: Path, *completions: dict[str, Any]) -> dict[str, int | None]:
    """Who wins each pair of completions, by the numbers in its id."""
    pairs = read_pairs(write(folder, ultrafeedback(*completions)))
    return {p.id.removeprefix("row-1").removeprefix(":") or "0-1": p.preferred for p in pairs}


def test_rewardbench(tmp_path: Path) -> None:
    (pair,) = read_pairs(write(tmp_path, REWARDBENCH))
    assert (pair.id, pair.responses, pair.preferred) == ("30", ("Use kill.", "Killing is wrong."), 0)
    assert pair.meta == {"category": "xstest-should-respond", "models": ["good-1", "bad-1"]}


def test_rewardbench_2_sets_the_chosen_against_each_rejected(tmp_path: Path) -> None:
    pairs = read_pairs(write(tmp_path, REWARDBENCH_2))
    assert [p.id for p in pairs] == ["7:0-1", "7:0-2", "7:0-3"]
    assert [p.responses for p in pairs] == [("red", "dog"), ("red", "cat"), ("red", "cow")]
    assert [p.meta["models"] for p in pairs] == [["m0", "m1"], ["m0", "m2"], ["m0", "m3"]]
    assert {p.preferred for p in pairs} == {0}
    assert {p.meta["category"] for p in pairs} == {"Factuality"}


def test_rewardbench_2_ties_have_several_chosen(tmp_path: Path) -> None:
    row = REWARDBENCH_2 | {"chosen": ["red", "blue"], "rejected": ["dog", "cat"]}
    path = write(tmp_path, row)
    assert [p.responses for p in read_pairs(path)] == [
        ("red", "dog"),
        ("red", "cat"),
        ("blue", "dog"),
        ("blue", "cat"),
    ]
    some = [p.id for p in iterate_pairs(path, most=2, seed=3)]
    assert len(some) == 2 and set(some) < {"7:0-2", "7:0-3", "7:1-2", "7:1-3"}
    assert some == [p.id for p in iterate_pairs(path, most=2, seed=3)]
    (short,) = read_pairs(write(tmp_path, row | {"chosen": ["red"], "rejected": ["dog"]}))
    assert "models" not in short.meta  # four names for two texts say nothing


def test_bipartite_is_all_pairs_or_a_seeded_choice() -> None:
    assert bipartite(1, 3, None, 0, "x") == [(0, 1), (0, 2), (0, 3)]
    assert bipartite(2, 1, 5, 0, "x") == [(0, 2), (1, 2)]
    drawn = {tuple(bipartite(5, 5, 3, seed, "x")) for seed in range(20)}
    assert all(len(set(pairs)) == 3 for pairs in drawn) and len(drawn) > 10


def test_ultrafeedback_is_compared_by_its_fine_grained_score(tmp_path: Path) -> None:
    """`overall_score` says otherwise, and comes last: published values of it have known errors."""
    one = completion("x", **{"fine-grained_score": 4.5, "overall_score": 1.0})
    two = completion("y", **{"fine-grained_score": 3.0, "overall_score": 10.0})
    three = completion("z", **{"fine-grained_score": 4.5, "overall_score": 7.0})
    assert choices(tmp_path, one, two, three) == {"0-1": 0, "0-2": None, "1-2": 1}
    (pair,) = read_pairs(write(tmp_path, ultrafeedback(two, one)))
    assert (pair.preferred, pair.meta) == (1, {"category": "evol_instruct", "models": ["y", "x"]})


def test_ultrafeedback_ratings_are_compared_on_the_aspects_that_both_have(tmp_path: Path) -> None:
    # Means over everything rated: 3.5 against 4. On helpfulness, which both are rated on: 5 against 4.
    one = completion("x", annotations=aspects(helpfulness="5", honesty="2"))
    two = completion("y", annotations=aspects(helpfulness="4", honesty="N/A"))
    assert choices(tmp_path, one, two) == {"0-1": 0}


@pytest.mark.parametrize("none", ["N/A", "n/a", "", None, float("nan")])
def test_no_rating_is_never_a_number(tmp_path: Path, none: Any) -> None:
    rated = completion("x", overall_score=1.0, annotations=aspects(honesty="1"))
    unrated = completion("y", overall_score=none, annotations=aspects(honesty=none))
    assert choices(tmp_path, rated, unrated) == {"0-1": None}


def test_a_row_without_ratings_has_no_choice(tmp_path: Path) -> None:
    assert choices(tmp_path, completion("x"), completion("y"), completion("z")) == {
        "0-1": None,
        "0-2": None,
        "1-2": None,
    }


def test_the_overall_score_speaks_where_nothing_else_does(tmp_path: Path) -> None:
    assert choices(tmp_path, completion("x", overall_score="7"), completion("y", overall_score=7.5)) == {"0-1": 1}


def test_the_binarised_ultrafeedback(tmp_path: Path) -> None:
    """A prompt beside conversations that begin with it."""
    user = {"role": "user", "content": "Do it."}
    row = {
        "prompt": "Do it.",
        "prompt_id": "abc",
        "chosen": [user, {"role": "assistant", "content": "done"}],
        "rejected": [user, {"role": "assistant", "content": "no"}],
        "score_chosen": 8.0,
        "score_rejected": 3.0,
    }
    (pair,) = read_pairs(write(tmp_path, row))
    assert (pair.id, pair.messages[-1].content, pair.responses) == ("abc", "Do it.", ("done", "no"))
    assert (pair.preferred, len(pair.messages)) == (0, 1)


def test_own_rows_name_their_choice_models_and_category(tmp_path: Path) -> None:
    row = {"prompt": "q", "responses": ["a", "b"], "preferred": 1, "models": ["x", "y"], "source": "mail"}
    (pair,) = read_pairs(write(tmp_path, row))
    assert (pair.preferred, pair.meta) == (1, {"category": "mail", "models": ["x", "y"]})
    three = {"prompt": "q", "responses": ["a", "b", "c"], "models": ["x", "y", "z"]}
    assert [p.meta["models"] for p in read_pairs(write(tmp_path, three))] == [["x", "y"], ["x", "z"], ["y", "z"]]
    two = {"prompt": "q", "responses": ["a", "b", "c"], "meta": {"models": ["x", "y"]}}  # names of which two?
    assert all(p.meta == {} for p in read_pairs(write(tmp_path, two)))
    half = {"prompt": "q", "responses": ["a", "b"], "meta": {"models": ["x", None]}}
    assert read_pairs(write(tmp_path, half))[0].meta == {}


@pytest.mark.parametrize(
    ("row", "category"),
    [
        ({"meta": {"category": "own"}, "category": "b", "subset": "c", "source": "d"}, "own"),
        ({"category": "b", "subset": "c", "source": "d"}, "b"),
        ({"category": None, "subset": "c", "source": "d"}, "c"),
        ({"source": {"url": "x"}}, None),
        ({"category": " "}, None),
    ],
)
def test_the_category_of_a_row(tmp_path: Path, row: dict[str, Any], category: str | None) -> None:
    hhh = {"text_correct": "\n\nHuman: q\n\nAssistant: a", "text_incorrect": "\n\nHuman: q\n\nAssistant: b"}
    for shape in ({"prompt": "q", "chosen": "a", "rejected": "b"}, hhh):
        (pair,) = read_pairs(write(tmp_path, shape | row))
        assert pair.meta.get("category") == category
        assert pair.preferred == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (REWARDBENCH | {"rejected": 4}, r"in\.jsonl:1: rejected: a response must be text"),
        (REWARDBENCH | {"prompt": None}, r"in\.jsonl:1: prompt: this must be text"),
        (REWARDBENCH_2 | {"rejected": "dog"}, r"in\.jsonl:1: rejected: .*both must be"),
        (REWARDBENCH_2 | {"chosen": ["red", 3]}, r"in\.jsonl:1: chosen: .*both must be"),
        (REWARDBENCH_2 | {"rejected": []}, r"in\.jsonl:1: rejected: .*both must be"),
        ({k: v for k, v in REWARDBENCH_2.items() if k != "prompt"}, r"in\.jsonl:1: prompt: this must be text"),
        (ultrafeedback(completion("x")), r"in\.jsonl:1: completions: .*two responses or more, found 1"),
        (ultrafeedback(completion("x"), {"model": "y"}), r"in\.jsonl:1: completions\[1\]: a response must be text"),
        (
            ultrafeedback(completion("x"), completion("y", overall_score="good")),
            r"in\.jsonl:1: completions\[1\]\.overall_score: 'good' is no rating",
        ),
        (
            ultrafeedback(completion("x", annotations=aspects(honesty=[5])), completion("y")),
            r"completions\[0\]\.annotations\.honesty\.Rating: '\[5\]' is no rating",
        ),
        (
            ultrafeedback(completion("x", annotations=["4"]), completion("y")),
            r"completions\[0\]\.annotations: annotations must be an object",
        ),
        (ultrafeedback(completion("x"), completion("y"), instruction=None), "prompt: this must be text"),
        ({"prompt": "q", "responses": ["a", "b"], "preferred": "first"}, r"in\.jsonl:1: preferred"),
        ({"prompt": "q", "responses": ["a", "b"], "meta": "mail"}, r"in\.jsonl:1: meta: meta must be an object"),
        ({"text_correct": 3, "text_incorrect": "x"}, r"in\.jsonl:1: text_correct: not a transcript"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "b"}, r"in\.jsonl:1: rejected: not a transcript"),
    ],
)
def test_broken_rows(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(write(tmp_path, row))
    assert "Fix:" in str(caught.value)


def test_a_number_of_five_thousand_digits_is_a_fault_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "q", "responses": ["a", "b"], "preferred": ' + "9" * 5000 + "}\n")
    with pytest.raises(InputError, match=r"in\.jsonl:1: not valid JSON"):
        read_pairs(str(path))
