"""What people bring: every shape, and every fault with its line and field."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.records.errors import InputError
from rlaif.records.inputs import iterate_pairs, read_pairs, read_prompts


def write(folder: Path, *rows: Any) -> str:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def test_prompt_and_responses(tmp_path: Path) -> None:
    (pair,) = read_pairs(write(tmp_path, {"id": "x", "prompt": "Hello?", "responses": ["a", "b"]}))
    assert (pair.id, pair.messages[0].content, pair.responses, pair.preferred) == ("x", "Hello?", ("a", "b"), None)


def test_trl_conversational_rows(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "Hello?"}],
        "chosen": [{"role": "assistant", "content": "good"}],
        "rejected": [{"role": "assistant", "content": "bad"}],
    }
    (pair,) = read_pairs(write(tmp_path, row))
    assert (pair.responses, pair.preferred, pair.id) == (("good", "bad"), 0, "row-1")


def test_several_responses_make_a_pair_of_every_two(tmp_path: Path) -> None:
    path = write(tmp_path, {"id": "x", "prompt": "q", "responses": ["a", "b", "a", "c"]})
    found = {pair.id: pair.responses for pair in read_pairs(path)}
    assert found == {  # two that are the same text are no pair
        "x:0-1": ("a", "b"),
        "x:0-3": ("a", "c"),
        "x:1-2": ("b", "a"),
        "x:1-3": ("b", "c"),
        "x:2-3": ("a", "c"),
    }
    some = [pair.id for pair in iterate_pairs(path, most=2, seed=1)]
    assert len(some) <= 2 and set(some) <= set(found)
    assert some == [pair.id for pair in iterate_pairs(path, most=2, seed=1)]


def test_ultrafeedback_completions(tmp_path: Path) -> None:
    """As published: an instruction, and completions with their models and ratings beside the response."""
    completions: list[Any] = [{"model": m, "response": f"by {m}", "annotations": {}} for m in ("x", "y", "z")]
    row = {"source": "evol", "instruction": "Do it.", "models": ["x", "y", "z"], "completions": completions}
    pairs = read_pairs(write(tmp_path, row))
    assert [p.responses for p in pairs] == [("by x", "by y"), ("by x", "by z"), ("by y", "by z")]
    assert {p.messages[0].content for p in pairs} == {"Do it."}
    assert pairs[0].id == "row-1:0-1"
    (two,) = read_pairs(write(tmp_path, row | {"completions": completions[:2]}))
    assert (two.id, two.responses) == ("row-1", ("by x", "by y"))


def test_a_limit_counts_rows(tmp_path: Path) -> None:
    path = write(tmp_path, *[{"prompt": f"q{i}", "responses": ["a", "b", "c"]} for i in range(3)])
    assert len(read_pairs(path, limit=2)) == 6


def test_transcripts_share_their_prefix(tmp_path: Path) -> None:
    start = "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:"
    (pair,) = read_pairs(write(tmp_path, {"chosen": f"{start} good", "rejected": f"{start} bad"}))
    assert [m.content for m in pair.messages] == ["one", "two", "three"]
    assert pair.responses == ("good", "bad")
    assert pair.meta == {}


def test_transcripts_that_part_early_keep_the_rest(tmp_path: Path) -> None:
    row = {
        "chosen": "\n\nHuman: one\n\nAssistant: yes\n\nHuman: more\n\nAssistant: fine",
        "rejected": "\n\nHuman: one\n\nAssistant: no",
    }
    (pair,) = read_pairs(write(tmp_path, row))
    assert [m.content for m in pair.messages] == ["one"]
    assert pair.responses == ("yes\n\nHuman: more\n\nAssistant: fine", "no")
    assert pair.meta == {"diverges_early": True}


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "in.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "q", "chosen": "a", "rejected": "b"}]), path)
    assert read_pairs(str(path))[0].responses == ("a", "b")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "q", "responses": ["a"]}], r"in\.jsonl:1: responses: .*two responses or more, found 1"),
        ([{"prompt": "q", "responses": "ab"}], "no list"),
        ([{"prompt": "q", "responses": ["a", 3]}], r"responses\[1\].*must be text"),
        ([{"prompt": "q", "responses": ["a", "b", None]}], r"responses\[2\].*must be text"),
        ([{"responses": ["a", "b", "c"]}], "prompt: this must be text"),
        ([{"id": "x", "prompt": "q", "responses": ["a", "b", "c"]}] * 2, "'x:0-1' occurs twice"),
        ([{"question": "q"}], "this row is no pair: it has question"),
        ([{"prompt": "", "responses": ["a", "b"]}], "prompt: this must be text"),
        ([{"prompt": [{"role": "robot", "content": "x"}], "responses": ["a", "b"]}], "message is malformed"),
        ([{"prompt": [{"role": "assistant", "content": "x"}], "responses": ["a", "b"]}], "end with a user turn"),
        ([{"id": "x", "prompt": "q", "responses": ["a", "b"]}] * 2, "'x' occurs twice"),
        ([{"chosen": "no turns", "rejected": "none"}], "not a transcript"),
        ([{"prompt": "q", "responses": ["a", "b"], "preferred": 2}], "preferred"),
        ([3], "must be a JSON object"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(write(tmp_path, *rows))
    assert "Fix:" in str(caught.value)


def test_half_written_empty_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "q", "responses": ["a", "b"]}\n{"prompt": "q", "resp')
    with pytest.raises(InputError, match=r"in\.jsonl:2: not valid JSON"):
        read_pairs(str(path))
    path.write_text("\n\n")
    with pytest.raises(InputError, match="empty"):
        read_pairs(str(path))
    with pytest.raises(InputError, match="no such file"):
        read_pairs(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="folder"):
        read_pairs(str(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="parquet"):
        read_pairs(str(tmp_path / "x.parquet"))


def test_csv_with_long_and_many_lined_texts(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    rows = [
        ("id", "prompt", "chosen", "rejected"),
        ("a", "q, 1", 'say "x"\nand y', "r" * 200_000),
        ("b", "问", "好", "不"),
    ]
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows(rows)
    first, second = read_pairs(str(path))
    assert (first.id, first.messages[0].content, first.preferred) == ("a", "q, 1", 0)
    assert first.responses == ('say "x"\nand y', "r" * 200_000) and second.responses == ("好", "不")
    path.write_text("prompt,chosen,rejected\r\nq,a\r\n", newline="")
    with pytest.raises(InputError, match=r"in\.csv:2: this row has not as many cells"):
        read_pairs(str(path))
    path.write_text('prompt,chosen,rejected\nq,"a"b,c\n')
    with pytest.raises(InputError, match=r"in\.csv:2: not valid CSV"):
        read_pairs(str(path))
    path.write_text("prompt,chosen,rejected\n")
    with pytest.raises(InputError, match="empty"):
        read_pairs(str(path))
    path.write_bytes("prompt,chosen,rejected\ncaf\xe9,a,b\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"in\.csv:\d: this is not UTF-8"):
        read_pairs(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"prompt": "q"}]', "one JSON list.*jq"),
        (b"[\n {}\n]", "one JSON list"),
        (gzip.compress(b"{}", mtime=0), "compressed"),
        (b"PAR1", r"ends in \.parquet"),
        ('{"prompt": "caf\xe9"}'.encode("latin-1"), r"in\.jsonl:1: this is not UTF-8"),
    ],
)
def test_files_of_another_kind_are_told_by_their_beginning(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_pairs(str(path))


def test_the_nearest_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "q", "responses": ["a", "b"]})
    for wrong in ("inn.jsonl", "in"):
        with pytest.raises(InputError, match=r"did you mean '.*in\.jsonl'"):
            read_pairs(str(Path(path).with_name(wrong)))


def test_prompts(tmp_path: Path) -> None:
    with_messages = {"id": "b", "messages": [{"role": "user", "content": "r"}]}
    path = write(tmp_path, {"prompt": "q", "meta": {"k": 1}}, with_messages)
    first, second = read_prompts(path)
    assert (first.id, first.meta, second.id) == ("row-1", {"k": 1}, "b")
    assert len(read_prompts(path, limit=1)) == 1


def test_the_real_files(data_folder: Path) -> None:
    pairs = read_pairs(str(data_folder / "hh-rlhf/harmless-base.jsonl"))
    assert len(pairs) == 1500
    assert all(p.messages[-1].role == "user" and p.preferred == 0 for p in pairs)
    assert sum("diverges_early" in p.meta for p in pairs) == 1
    assert len(read_pairs(str(data_folder / "cai/hhh-evaluations.jsonl"))) == 219
