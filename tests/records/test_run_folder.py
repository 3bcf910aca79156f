"""Run folders: one holder, and a manifest that believes the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.records.errors import InputError
from rlaif.records.run_folder import RunFolder


def test_two_holders_cannot_share_a_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="another rlaif process"):
        RunFolder(tmp_path / "run")
    first.close()
    RunFolder(tmp_path / "run").close()


def test_finished_means_the_key_and_the_bytes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "out").write_text("1")
    assert not folder.finished("stage", "key")
    folder.finish("stage", "key", "{}", ["stage/out"])
    folder.close()
    again = RunFolder(tmp_path)
    assert again.finished("stage", "key")
    assert not again.finished("stage", "another key")
    (tmp_path / "stage" / "out").write_text("2")
    assert not again.finished("stage", "key")
    (tmp_path / "stage" / "out").unlink()
    assert not again.finished("stage", "key")


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema_version": 1, "stages": {')
    with pytest.raises(InputError, match=r"manifest\.json.*Fix"):
        RunFolder(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="a file"):
        RunFolder(tmp_path / "f")


def test_keys_change_with_settings_and_parents(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    base = folder.stage_key({"a": 1}, {"p": "x"})
    assert base == folder.stage_key({"a": 1}, {"p": "x"})
    assert len({base, folder.stage_key({"a": 2}, {"p": "x"}), folder.stage_key({"a": 1}, {"p": "y"})}) == 3
