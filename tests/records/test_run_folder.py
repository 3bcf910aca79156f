"""Run folders: one holder, and a manifest that believes the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif import __version__
from rlaif.records.errors import InputError
from rlaif.records.run_folder import Manifest, RunFolder


def test_two_holders_cannot_share_a_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="another rlaif process"):
        RunFolder(tmp_path / "run")
    first.close()
    RunFolder(tmp_path / "run").close()


def test_nothing_of_anybodys_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pairs.jsonl").write_text("precious")
    with pytest.raises(InputError, match="holds other things"):
        RunFolder(tmp_path / "mine", "label")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["pairs.jsonl"]
    RunFolder(tmp_path / "labels", "label").close()
    with pytest.raises(InputError, match="one of `rlaif label`"):
        RunFolder(tmp_path / "labels", "critic test")
    RunFolder(tmp_path / "labels", "label").close()


def test_a_folder_copied_without_hidden_files_is_known_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "labelling.json").write_text("{}")
    RunFolder(tmp_path, "label").close()
    with pytest.raises(InputError, match="one of `rlaif label`"):
        RunFolder(tmp_path)


def test_who_holds_a_run_holds_its_stages(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.finish("label", "key", "{}", [])
    (tmp_path / "label").mkdir()
    with pytest.raises(InputError, match="another rlaif process"):
        RunFolder(tmp_path / "label", "label")
    run.close()
    RunFolder(tmp_path / "label", "label").close()
    RunFolder(tmp_path).close()


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


def test_what_a_killed_process_left_half_written_is_swept_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from rlaif.records.files import atomic_folder, atomic_path\n"
        "with atomic_folder(Path(sys.argv[1]) / 'dataset') as a, atomic_path(Path(sys.argv[1]) / 'rows.jsonl') as b:\n"
        "    (a / 'x').write_text('x'); b.write_text('y'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    RunFolder(tmp_path).close()
    stage = tmp_path / "stage"
    stage.mkdir()
    subprocess.run([sys.executable, "-c", code, str(stage)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert len(list(stage.iterdir())) == 2
    (stage / ".notes.settings").write_text("mine")
    RunFolder(tmp_path).close()
    assert [p.name for p in stage.iterdir()] == [".notes.settings"]


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


def test_the_manifest_says_which_rlaif_ran_a_stage_and_older_ones_still_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run" / "a").write_text("1")
    folder.finish("sample", "key", "{}", ["a"])
    folder.close()
    path = tmp_path / "run" / "manifest.json"
    assert Manifest.model_validate_json(path.read_bytes()).versions == [__version__]
    old = json.loads(path.read_text())
    del old["stages"]["sample"]["version"]
    path.write_text(json.dumps(old))
    folder = RunFolder(tmp_path / "run")
    assert folder.finished("sample", "key") and folder.manifest.versions == ["unknown"]
    folder.close()


def test_a_stage_that_runs_again_makes_those_after_it_old_until_it_is_done(tmp_path: Path) -> None:
    names, folder = ["sample", "sft", "pairs"], RunFolder(tmp_path / "run")
    (tmp_path / "run" / "a").write_text("1")
    for name in names:
        folder.finish(name, "key", "{}", ["a"])
    folder.again("sft")
    folder.close()
    manifest = Manifest.model_validate_json((tmp_path / "run" / "manifest.json").read_bytes())
    assert manifest.finished(names) == ["sample"] and list(manifest.stages) == sorted(names)
    folder = RunFolder(tmp_path / "run")
    assert folder.finished("sft", "key")  # the old settings came back: nothing was written yet
    folder.finish("sft", "other", "{}", ["a"])
    assert folder.manifest.finished(names) == names
    folder.close()
