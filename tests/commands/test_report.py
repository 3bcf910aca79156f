"""`rlaif report` of run folders: half-finished, damaged, and two side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlaif.commands import report as commands
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Silent
from rlaif.records.errors import InputError
from rlaif.records.files import write_text
from rlaif.records.report import Report
from rlaif.stages import report as stage
from tests.commandline import rlaif
from tests.page.synthetic import evaluation, reward_summary
from tests.ports.asked import FakeChat
from tests.stages.test_label import Fakes, prefers, run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that came as far as the reward model, and in which PPO was stopped."""
    folder = tmp_path_factory.mktemp("runs") / "half"
    folder.mkdir()
    run(folder.parent, Fakes(cheap=FakeChat(prefers("good")))).rename(folder / "label")
    write_text(folder / "reward/summary.json", reward_summary().model_dump_json())
    write_text(folder / "policy/metrics.jsonl", '{"step": 1, "kl": 0.0}\n{"step": 2, "kl": 0.4}\n{"step": 3, "k')
    entry = {"key": "k", "config": "{}", "outputs": {}}
    stages = {name: entry for name in ("prompts", "sample", "revise", "sft", "pairs", "label", "audit", "reward")}
    write_text(folder / "manifest.json", json.dumps({"schema_version": 1, "stages": stages}))
    return folder


@pytest.fixture
def half(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "half"))


def read(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report/report.json").read_bytes())


def test_a_half_finished_run_shows_what_there_is_and_says_what_is_missing(half: Path) -> None:
    done = rlaif("report", str(half), cwd=half.parent)
    assert done.returncode == 0
    assert "not finished: policy (2 updates so far), evaluate" in done.stdout
    assert "cannot be read: policy/metrics.jsonl: line 3: damaged line" in done.stdout
    found = read(half)
    assert found.evaluation is None and found.reward is not None and found.labels is not None
    assert found.labels.count == 12 and found.constitution == "test@0.1.0"
    assert [curve.values for curve in found.policy_curves] == [[0.0, 0.4]]
    page = (half / "report/report.html").read_text(encoding="utf-8")
    assert "This run is not finished" in page and 'id="pair-data"' in page


def test_machines_are_told_the_same(half: Path) -> None:
    done = rlaif("report", str(half), "--json", cwd=half.parent)
    data: dict[str, Any] = json.loads(done.stdout)
    assert data["stages"]["label"] == "finished" and data["stages"]["evaluate"] == "missing"
    assert [problem["file"] for problem in data["problems"]] == ["policy/metrics.jsonl"]
    assert Path(data["report"]).is_file()


@pytest.mark.parametrize(
    "name", ["manifest.json", "config.resolved.yaml", "label/labelling.json", "label/labels.jsonl"]
)
@pytest.mark.parametrize("content", [b"\xff\x00", b"{", b"a: [1\n"])
def test_an_unreadable_record_is_named_and_the_rest_is_shown(half: Path, name: str, content: bytes) -> None:
    (half / name).write_bytes(content)
    found = commands.write(half, Silent())
    assert name in {problem.file for problem in found.problems}
    assert found.reward is not None


def test_later_rounds_are_read_and_their_pairs_can_be_browsed(half: Path) -> None:
    later = half / "round-2"
    shutil.copytree(half / "label", later / "label")
    write_text(later / "reward/summary.json", "{")
    found = commands.write(half, Silent())
    (second,) = found.rounds
    assert second.number == 2 and second.labels is not None and second.labels.count == 12 and second.reward is None
    assert "round-2/reward/summary.json" in {problem.file for problem in found.problems}
    run = commands.read(half)
    _, book = stage.gather(run.config, Engines(), run.inputs)
    rounds = [row[book.head["columns"]["pair"].index("round")] for row, _ in book.rows]
    assert rounds == [1] * 12 + [2] * 12
    few = run.config.model_copy(update={"browse": 15})
    assert len(list(stage.gather(few, Engines(), run.inputs)[1].rows)) == 15


def test_the_same_folder_gives_the_same_bytes(half: Path) -> None:
    half = half.rename(half.with_name("qqqq"))
    commands.write(half, Silent())
    first = [(half / f"report/report.{kind}").read_bytes() for kind in ("json", "html")]
    other = half.rename(half.with_name("moved"))
    commands.write(other, Silent())
    again = [(other / f"report/report.{kind}").read_bytes() for kind in ("json", "html")]
    assert [text.replace(b"qqqq", b"moved") for text in first] == again  # without settings the folder's name is shown


def test_two_runs_stand_side_by_side(half: Path) -> None:
    other = Path(shutil.copytree(half, half.with_name("other")))
    write_text(other / "evaluate/evaluation.json", evaluation().model_dump_json())
    settings = "name: demo\nprompts: {train: t.jsonl, test: t.jsonl}\nmodel: m\ncritic: hf:c\nconstitution: harmless\n"
    write_text(half / "config.resolved.yaml", settings + "seed: 1\n")
    write_text(other / "config.resolved.yaml", settings + "seed: 2\npolicy: {updates: 7}\n")
    done = rlaif("report", "half", "other", cwd=half.parent)
    assert done.returncode == 0 and "against-other.html" in done.stdout
    page = (half / "report/against-other.html").read_text(encoding="utf-8")
    for words in ("<code>seed</code>", "<code>policy.updates</code>", "policy preferred to sft", "Their seeds differ"):
        assert words in page, words
    assert not (other / "report").exists()
    named = rlaif("report", "half", "other", "--out", "elsewhere/both.html", cwd=half.parent)
    assert named.returncode == 0
    assert 'href="../half/report/report.html"' in (half.parent / "elsewhere/both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("half", "nowhere"), "there is no such folder"),
        (("half", "empty"), "this folder holds no run"),
        (("run.yaml", "half"), "only run folders can be compared"),
        (("half", "--fresh"), "a report of a folder runs nothing"),
        (("half", "--out", "x"), "a report of a folder runs nothing"),
        (("nowhere",), "there is no"),
    ],
)
def test_what_cannot_be_reported_on_is_said(half: Path, arguments: tuple[str, ...], problem: str) -> None:
    (half.parent / "empty").mkdir()
    done = rlaif("report", *arguments, cwd=half.parent)
    assert done.returncode == 2 and problem in done.stderr and "Traceback" not in done.stderr


def test_a_folder_without_settings_still_tells_what_it_can(tmp_path: Path) -> None:
    (tmp_path / "bare/policy").mkdir(parents=True)
    found = commands.write(tmp_path / "bare", Silent())
    assert {own.state for own in found.stages} == {"missing"} and found.name == "bare"
    with pytest.raises(InputError, match="holds no run"):
        commands.read(tmp_path)
