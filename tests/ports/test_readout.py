"""What is read of a run folder: all that is whole, what is damaged by name, and nothing that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif.ports import pairbook, readout
from rlaif.ports.engines import Engines
from rlaif.ports.pairbook import Chapter
from rlaif.ports.readout import Readout
from rlaif.records.errors import InputError
from rlaif.records.labelling import LabelFolder
from rlaif.records.report import BeforeAfter, LabelSummary
from tests.ports.asked import FakeChat
from tests.stages.test_label import Fakes, prefers, run


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A run folder with twelve labelled pairs."""
    out = run(tmp_path, Fakes(cheap=FakeChat(prefers("good"))))
    (tmp_path / "run").mkdir()
    out.rename(tmp_path / "run/label")
    return tmp_path / "run"


def test_what_is_not_there_is_none_and_no_fault(tmp_path: Path) -> None:
    of = Readout(tmp_path)
    assert of.record("label/summary.json", LabelSummary) is None
    assert list(of.metrics("policy/metrics.jsonl")) == []
    assert readout.labels(of, None, None, 10) == ([], None)
    assert readout.label_summary(of) is None and of.problems == []


def test_rows_before_a_damaged_one_count_and_it_is_named(labelled: Path) -> None:
    path = labelled / "label/labels.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]) + lines[4][:50] + "\n" + "".join(lines[5:]))
    of = Readout(labelled)
    assert [label.pair.id for label in readout.labels(of, None, None, 10).labels] == ["p0", "p1", "p2"]
    (problem,) = of.problems
    assert problem.file == "label/labels.jsonl"
    assert problem.what.startswith("line 5: damaged row") and problem.what.endswith("the 3 rows before it are shown")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"count": "many"}', b"null"])
def test_a_record_that_cannot_be_read_is_a_problem_and_no_exception(labelled: Path, content: bytes) -> None:
    (labelled / "label/summary.json").write_bytes(content)
    (labelled / "label/labels.jsonl").write_bytes(content)
    (labelled / "label/metrics.jsonl").write_bytes(content or b"{")
    of = Readout(labelled)
    assert of.record("label/summary.json", LabelSummary) is None
    assert readout.labels(of, None, None, 10).labels == []
    assert list(of.metrics("label/metrics.jsonl")) == []
    assert {problem.file for problem in of.problems} == {
        "label/summary.json",
        "label/labels.jsonl",
        "label/metrics.jsonl",
    }


def test_labels_under_way_are_read_as_far_as_they_are(labelled: Path) -> None:
    folder = labelled / "label"
    for name in ("labels", "judgements"):
        whole = (folder / f"{name}.jsonl").read_text()
        (folder / f"{name}.jsonl.part").write_text(whole[:-30])
        (folder / f"{name}.jsonl").unlink()
    of = Readout(labelled)
    found = readout.labels(of, None, None, 100).labels
    rows = list(pairbook.book([Chapter(1, of, None, found)]).rows)
    assert len(found) == len(rows) == 11  # the twelfth is torn
    assert {problem.file for problem in of.problems} == {"label/labels.jsonl.part", "label/judgements.jsonl.part"}


def test_a_folder_within_the_run_is_named_in_its_problems(labelled: Path) -> None:
    later = labelled / "round-2"
    later.mkdir()
    (labelled / "label").rename(later / "label")
    (later / "label/summary.json").write_text("{")
    of = Readout(labelled, "round-2/")
    assert readout.label_summary(of) is None
    assert [problem.file for problem in of.problems] == ["round-2/label/summary.json"]


def test_stages_are_finished_begun_or_missing(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(
        '{"schema_version": 1, "stages": {"sft": {"key": "k", "config": "{}", "outputs": {}}}}'
    )
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/metrics.jsonl").write_text('{"step": 1, "kl": 0.5}\n{"step": 2, "kl": 0.7}\n')
    found = readout.stages(Readout(tmp_path), ["sft", "policy", "evaluate"])
    assert [(own.name, own.state, own.note) for own in found] == [
        ("sft", "finished", None),
        ("policy", "unfinished", "2 updates so far"),
        ("evaluate", "missing", None),
    ]


def test_prompts_are_proved_by_the_keys_of_their_answers(labelled: Path) -> None:
    of = Readout(labelled)
    about = of.record("label/labelling.json", LabelFolder)
    found = readout.labels(of, about, None, 3)
    book = pairbook.book([Chapter(1, of, about, found.labels)])
    exact = pairbook.JUDGED.index("exact")
    rows = list(book.rows)
    assert [row[0] for row, _ in rows] == ["p0", "p1", "p2"]
    assert [len(judged) for _, judged in rows] == [8, 8, 8]
    assert all(own[exact] is True for _, judged in rows for own in judged)
    other = found.labels[0].model_copy(
        update={"pair": found.labels[0].pair.model_copy(update={"responses": ("another", "text")})}
    )
    ((_, judged),) = pairbook.book([Chapter(1, of, about, [other])]).rows
    assert all(own[exact] is False for own in judged)


class NoModel(Engines):
    """Engines that find every model folder damaged."""

    def learner(self, kind: str, **options: Any) -> Any:
        raise InputError("this is no model", file=options["model"])


def test_a_reward_model_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "reward/model").mkdir(parents=True)
    sample = BeforeAfter(prompt_id="p", messages=[], replies={"policy": "yes"}, oracle={})
    of = Readout(tmp_path)
    assert readout.credits(of, NoModel(), [sample], "policy") == []
    (problem,) = of.problems
    assert (problem.file, problem.what) == ("reward/model", "no token credit: this is no model")


def test_the_terms_of_a_mixed_reward_have_curves_too(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    rows = [{"step": step, "score": 1.0 * step, "reward/truth": 0.5 / step, "other": 1.0} for step in (1, 2)]
    (tmp_path / "policy/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = readout.curves(Readout(tmp_path), "policy/metrics.jsonl", {"score": "reward", "kl": "nats"}, "a term")
    assert [(c.name, c.unit, c.steps, c.values) for c in found] == [
        ("score", "reward", [1, 2], [1.0, 2.0]),
        ("reward/truth", "a term", [1, 2], [0.5, 0.25]),
    ]
    assert [c.name for c in readout.curves(Readout(tmp_path), "policy/metrics.jsonl", {"score": "reward"})] == ["score"]
