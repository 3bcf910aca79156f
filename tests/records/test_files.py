"""Artifacts on disk: atomic, versioned, and every fault named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlaif.records import files
from rlaif.records.errors import InputError
from rlaif.records.header import Header
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message, Prompt

HEADER = Header(kind="prompts", config_hash="c", parents={})
ROWS = [Prompt(id=str(i), messages=[Message(role="user", content=f"q{i}")]) for i in range(3)]


def test_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    assert files.write_rows(path, HEADER, ROWS) == 3
    assert files.read_rows(path, Prompt, "prompts") == ROWS
    assert [p.name for p in path.parent.iterdir()] == ["rows.jsonl"]


@given(st.text())
def test_any_text_survives(text: str) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = [Prompt(id="x", messages=[Message(role="user", content=text)])]
        files.write_rows(path, HEADER, rows)
        assert files.read_rows(path, Prompt, "prompts") == rows


def test_halves_of_surrogate_pairs_come_back_from_a_file_that_is_utf_8(tmp_path: Path) -> None:
    path, half = tmp_path / "rows.jsonl", [Message(role="user", content="half \ud83d of 😀")]
    pair = Pair(id="p", messages=half, responses=("\udc00", "whole"), preferred=1)
    files.write_rows(path, HEADER, [pair])
    assert files.read_rows(path, Pair, "prompts") == [pair]
    assert b"\\ud83d" in path.read_bytes() and path.read_bytes().decode("utf-8")
    torn = path.read_bytes()[:-9]
    path.write_bytes(torn)
    with pytest.raises(InputError, match=r"rows\.jsonl:2.*damaged row"):
        files.read_rows(path, Pair, "prompts")
    path.write_bytes(torn + b'", "whole"],"preferred":"no"}')
    with pytest.raises(InputError, match=r"rows\.jsonl:2.*damaged row"):
        files.read_rows(path, Pair, "prompts")


def test_a_writer_that_dies_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.write_rows(path, HEADER, ROWS)

    def broken() -> object:
        yield ROWS[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_rows(path, HEADER, broken())  # type: ignore[arg-type]
    assert files.read_rows(path, Prompt, "prompts") == ROWS
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(OSError) as caught, files.atomic_path(path), Path("/dev/full").open("w") as out:
        out.write("x")
    assert caught.value.filename == str(path)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with files.atomic_folder(folder) as temporary:
        (temporary / "a").write_text("1")
        assert not folder.exists()
    with pytest.raises(OSError), files.atomic_folder(folder) as temporary:
        (temporary / "b").write_text("2")
        raise OSError("disk full")
    assert [p.name for p in folder.iterdir()] == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_row_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.write_rows(path, HEADER, ROWS)
    whole = path.read_bytes()
    for content, line in ((whole + b"\x82\xff\n", 5), (b"\x82\xff" + whole, 1)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"rows\.jsonl:{line}.*damaged row"):
            files.read_rows(path, Prompt, "prompts")


def test_a_torn_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.write_rows(path, HEADER, ROWS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"rows\.jsonl:4.*damaged row.*Fix"):
        files.read_rows(path, Prompt, "prompts")


@pytest.mark.parametrize(
    ("content", "message"),
    [("", r"rows\.jsonl"), ('{"kind":"labels","schema_version":1,"config_hash":"c","parents":{}}\n', "labels v1")],
)
def test_another_kind_or_no_header(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        files.read_rows(path, Prompt, "prompts")


def test_a_missing_artifact_says_which_stage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        files.read_rows(tmp_path / "none.jsonl", Prompt, "prompts")


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.canonical_json({"x": math.nan})
    with pytest.raises(ValidationError):
        Prompt(id="x", messages=[], meta={})


def test_digests_see_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_text("1")
    first = files.file_digest(tmp_path / "m")
    (tmp_path / "m" / "a").rename(tmp_path / "m" / "b")
    assert files.file_digest(tmp_path / "m") != first


def test_canonical_json_does_not_depend_on_key_order() -> None:
    assert files.content_hash({"a": 1, "b": 2}) == files.content_hash({"b": 2, "a": 1})
    assert files.content_hash("a", "b") != files.content_hash("ab")
