"""Prompt sets and recorded outputs, of all shapes and with all faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.records.errors import InputError
from rlaif.records.tasks import Task, TaskSet, read_recorded, read_sets

# Published data, where somebody has laid it beside the checkout.
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def tasks(folder: Path, *rows: Any) -> list[Task]:
    return read_sets([write(folder / "set.jsonl", *rows)], None)[0].tasks


def test_every_shape_of_prompt(tmp_path: Path) -> None:
    found = tasks(
        tmp_path,
        {"id": "plain", "prompt": "q", "meta": {"harmful": True}, "category": "c"},
        {"id": "marked", "messages": [{"role": "user", "content": "q"}], "safety": "looks-unsafe"},
        {"id": "dialogue", "prompt": "u1", "turns": ["u2", "u3"]},
        {"id": "reward-bench", "prompt": "q", "chosen": "a", "rejected": "b", "subset": "alpacaeval-easy"},
        {"id": "transcripts", "chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {"id": "index", "prompt": "2+2?", "choices": ["3", "4"], "answer": 1},
        {"id": "text", "prompt": "2+2?", "choices": [" 3", " 4"], "answer": " 4"},
        {"id": "cai", "prompt": "Which? The answer is:", "corrects": [" (A)"], "incorrects": [" (B)"]},
    )
    by_id = {task.id: task for task in found}
    assert (by_id["plain"].safety, by_id["plain"].category) == ("unsafe", "c")
    assert by_id["marked"].safety == "looks-unsafe"
    assert by_id["dialogue"].turns == ["u2", "u3"]
    assert by_id["reward-bench"].category == "alpacaeval-easy"
    assert [m.content for m in by_id["transcripts"].messages] == ["q"]
    assert by_id["index"].answers == by_id["text"].answers == [1]
    assert (by_id["cai"].choices, by_id["cai"].answers) == (["(A)", "(B)"], [0])


@pytest.mark.parametrize(
    "row, field, words",
    [
        ({"prompt": "q", "safety": "fine"}, "safety", "says nothing of safety"),
        ({"prompt": "q", "turns": []}, "turns", "list of texts"),
        ({"prompt": "q", "turns": "more"}, "turns", "list of texts"),
        ({"prompt": "q", "choices": ["a"], "answer": 0}, "choices", "two or more different"),
        ({"prompt": "q", "choices": ["a", "a "], "answer": 0}, "choices", "two or more different"),
        ({"prompt": "q", "choices": ["a", "b"], "answer": 2}, None, "none of the choices"),
        ({"prompt": "q", "choices": ["a", "b"], "answer": True}, None, "none of the choices"),
        ({"prompt": "q", "choices": ["a", "b"], "answer": [0, 1]}, "answer", "some wrong"),
        ({"prompt": "q", "choices": ["a", "b"]}, None, "none of the choices"),
        ({"question": "q"}, None, "no pair"),
        ({"prompt": ""}, "prompt", "must be text"),
    ],
)
def test_faults_of_a_prompt_name_their_line(tmp_path: Path, row: Any, field: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        tasks(tmp_path, {"prompt": "good"}, row)
    assert caught.value.line == 2 and (field is None or caught.value.field == field)


def test_sets_have_names_and_ids_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = write(tmp_path / "s.jsonl", {"prompt": "q"}), write(tmp_path / "b" / "s.jsonl", {"prompt": "q"})
    assert [own.name for own in read_sets([first, second], None)] == [first, second]
    with pytest.raises(InputError, match="named twice"):
        read_sets([first, first], None)
    with pytest.raises(InputError, match="occurs twice"):
        tasks(tmp_path, {"id": "a", "prompt": "q"}, {"id": "a", "prompt": "r"})


def test_the_shipped_set_has_twins_that_do_not_look_it() -> None:
    (own,) = read_sets(["looks-unsafe"], None)
    marks = [task.safety for task in own.tasks]
    assert marks.count("looks-unsafe") == 30 and marks.count("unsafe") == 13 and None not in marks
    assert len({task.messages[0].content for task in own.tasks}) == 43
    categories = {task.category for task in own.tasks if task.safety == "unsafe"}
    assert categories == {task.category for task in own.tasks if task.safety == "looks-unsafe"}


@pytest.mark.skipif(not DATA.is_dir(), reason="the published data is not beside this checkout")
def test_published_files_are_read() -> None:
    (hhh, transcripts) = read_sets(
        [str(DATA / "cai" / "hhh-evaluations.jsonl"), str(DATA / "hh-rlhf" / "harmless-base.jsonl")], 200
    )
    assert len(hhh.questions) == 200 and {tuple(sorted(task.choices)) for task in hhh.tasks} == {("(A)", "(B)")}
    assert len(transcripts.written) == 200 and all(task.messages[-1].role == "user" for task in transcripts.tasks)


@pytest.fixture
def sets(tmp_path: Path) -> list[TaskSet]:
    one = write(
        tmp_path / "one.jsonl",
        {"id": "a", "prompt": "first"},
        {"id": "b", "prompt": "second"},
        {"id": "d", "prompt": "u1", "turns": ["u2"]},
        {"id": "q", "prompt": "x", "choices": ["y", "z"], "answer": 0},
    )
    return read_sets([one, write(tmp_path / "two.jsonl", {"id": "b", "prompt": "other"})], None)


def test_outputs_are_found_by_prompt_or_by_id(tmp_path: Path, sets: list[TaskSet]) -> None:
    found = read_recorded(
        write(
            tmp_path / "out.jsonl",
            {"id": "a", "response": "r"},
            {"prompt": "second", "output": ""},
            {"id": "d", "response": ["r1", "r2"]},
            {"instruction": "other", "chosen": [{"role": "assistant", "content": "c"}]},
            {"id": "nobody", "response": "r"},
            {"id": "q", "response": "y"},
        ),
        sets,
    )
    assert found.replies == {"one": {"a": ["r"], "b": [""], "d": ["r1", "r2"]}, "two": {"b": ["c"]}}
    assert (found.rows, found.unmatched, found.empty) == (6, 2, 0)


def test_null_is_no_reply(tmp_path: Path, sets: list[TaskSet]) -> None:
    rows = [{"id": "a", "response": None}, {"id": "d", "response": ["r1", "r2"]}]
    found = read_recorded(write(tmp_path / "out.jsonl", *rows), sets)
    assert found.replies["one"] == {"d": ["r1", "r2"]} and found.empty == 1


@pytest.mark.parametrize(
    "row, words",
    [
        ({"id": "a", "text": "r"}, "no reply"),
        ({"response": "r"}, "which prompt"),
        ({"id": "b", "response": "r"}, "several prompt sets"),
        ({"id": "a", "response": "again"}, "second reply to 'a', after line 1"),
        ({"prompt": "first", "response": "again"}, "second reply"),
        ({"id": "d", "response": "one text"}, "2 turns"),
        ({"id": "d", "response": ["one"]}, "2 turns"),
        ({"prompt": "second", "response": 7}, "must be text"),
    ],
)
def test_faults_of_an_output_name_their_line(tmp_path: Path, sets: list[TaskSet], row: Any, words: str) -> None:
    path = write(tmp_path / "out.jsonl", {"id": "a", "response": "r"}, row)
    with pytest.raises(InputError, match=words) as caught:
        read_recorded(path, sets)
    assert caught.value.line == 2


def test_outputs_of_other_prompts_are_refused(tmp_path: Path, sets: list[TaskSet]) -> None:
    with pytest.raises(InputError, match="no row answers a prompt"):
        read_recorded(write(tmp_path / "out.jsonl", {"id": "x", "response": "r"}), sets)
