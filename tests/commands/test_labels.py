"""Labels without a run file: other sources, temperature on known choices, exports, and how to go on after Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlaif import cli
from rlaif.commands import labels as commands
from rlaif.ports.reporter import Silent
from rlaif.records.errors import InputError
from rlaif.records.export import Keep
from rlaif.records.files import read_rows
from rlaif.records.label import Label
from rlaif.records.label_table import LabelTable

LONGER = "scripted:rlaif.testing.scripts:prefers_longer"


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pair(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"p{number}", "prompt": f"question {number}", "responses": ["the longer reply", "short"], **more}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pairs.jsonl", *(pair(i) for i in range(4)))
    write(
        tmp_path / "gold.jsonl",
        pair(1, id="g", responses=["short", "the longer reply"], preferred=0),  # the other order, against the critic
        {"id": "only", "prompt": "new", "chosen": "yes", "rejected": "no"},
    )
    return tmp_path


def label(folder: Path, out: str, *sources: str) -> dict[str, Any]:
    config = commands.label_config([LONGER], {"sources": list(sources)}, [])
    return commands.label_pairs(config, "hhh", "pairs.jsonl", LONGER, None, folder / out, Silent())


def labels(folder: Path) -> list[Label]:
    return read_rows(folder / "labels.jsonl", Label, "labels")


def test_other_sources_join_the_table(folder: Path) -> None:
    plain = label(folder, "plain")
    summary = label(folder, "out", "human=gold.jsonl@3")
    assert plain["sources"] == {} and summary["sources"] == {"critic": 3, "fused": 1, "human": 1}
    assert summary["judgements"] == plain["judgements"] == 8  # nobody is asked about what only a source knows
    first, second, *_, last = labels(folder / "out")
    assert first == labels(folder / "plain")[0]
    assert second.p == pytest.approx((0.9 + 3 * 0) / 4) and second.source == "fused"
    assert second.pair.id == "p1" and second.pair.responses == ("the longer reply", "short")
    assert [(o.source, o.name, o.weight) for o in second.opinions] == [
        ("critic", LONGER, 1.0),
        ("human", "gold.jsonl", 3.0),
    ]
    assert (last.p, last.source, last.pair.responses) == (1.0, "human", ("yes", "no"))
    assert last.pair.id.startswith("human:only:")


def test_relabel_reads_the_sources_again(folder: Path) -> None:
    label(folder, "out", "human=gold.jsonl@3")
    before = (folder / "out/labels.jsonl").read_text().splitlines()[1:]
    commands.relabel(folder / "out", None, None, [], Silent())
    commands.relabel(folder / "out", None, None, [], Silent())  # what only a source knows is not added twice
    assert (folder / "out/labels.jsonl").read_text().splitlines()[1:] == before
    commands.relabel(folder / "out", None, None, [], Silent(), sources=["human=gold.jsonl@1"])
    assert labels(folder / "out")[1].p == pytest.approx(0.45)
    commands.relabel(folder / "out", None, None, ["sources=[]"], Silent())
    assert [x.source for x in labels(folder / "out")] == ["critic"] * 4


def test_a_run_killed_while_it_finishes_goes_on_without_doubles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label(folder, "whole", "human=gold.jsonl")
    with monkeypatch.context() as patch:

        def killed(table: LabelTable, *_: Any) -> None:
            table.note()
            raise SystemExit

        patch.setattr(LabelTable, "finish", killed)
        with pytest.raises(SystemExit):
            label(folder, "out", "human=gold.jsonl")
    assert not (folder / "out/labels.jsonl").exists()
    label(folder, "out", "human=gold.jsonl")
    assert (folder / "out/labels.jsonl").read_bytes() == (folder / "whole/labels.jsonl").read_bytes()


def test_faults_of_sources_come_before_anything_is_written(folder: Path) -> None:
    write(folder / "bad.jsonl", {"prompt": "q", "text": "a", "label": "good"})
    for source, message in (
        ("labelled=bad.jsonl", r"bad\.jsonl:1: label"),
        ("human=nope.jsonl", r"nope\.jsonl: there is no such file"),
        ("people=gold.jsonl", r"is no source"),
    ):
        with pytest.raises(InputError, match=message):
            label(folder, "out", source)
        assert not (folder / "out").exists()


def test_a_temperature_from_choices_in_the_labels_or_in_a_file(folder: Path) -> None:
    # The critic says 0.9 of every pair; people agree in three of four: T = log 9 / log 3 = 2, sigmoid = 3/4.
    chosen = [pair(i, preferred=1 if i == 1 else 0) for i in range(4)]
    label(folder, "out")
    with pytest.raises(InputError, match=r"0 labels have a known choice.*--gold"):
        commands.relabel(folder / "out", None, None, [], Silent(), fit=True)
    gold = write(folder / "known.jsonl", *(dict(row, id=f"other {i}") for i, row in enumerate(chosen)))
    summary = commands.relabel(folder / "out", folder / "fitted", None, [], Silent(), fit=True, gold=gold)
    assert summary["calibration"]["temperature"] == pytest.approx(2.0, abs=1e-6)
    assert summary["calibration"]["n"] == 4
    assert [x.p for x in labels(folder / "fitted")] == [pytest.approx(0.75, abs=1e-6)] * 4
    assert [x.p for x in labels(folder / "out")] == [pytest.approx(0.9)] * 4
    write(folder / "pairs.jsonl", *chosen)
    label(folder, "known")
    again = commands.relabel(folder / "known", None, None, [], Silent(), fit=True)
    assert again["calibration"] == summary["calibration"]
    # Fitted once more it is the same: the critics' own probabilities are fitted, not what a temperature made of them.
    assert commands.relabel(folder / "known", None, None, [], Silent(), fit=True)["calibration"] == again["calibration"]


def test_export(folder: Path) -> None:
    label(folder, "out", "human=gold.jsonl@3")
    said = commands.export(folder / "out", folder / "d", "unpaired", Keep(min_margin=0.6), None, Silent())
    assert said["train"] + said["test"] == 2 * 4 and said["left_out"] == 1  # the fused one has margin 0.55
    with pytest.raises(InputError, match=r"no axis 'nope'.*use one of: overall"):
        commands.export(folder / "out", folder / "d", "sft", Keep(), "nope", Silent())
    with pytest.raises(InputError, match=r"this folder holds no labels"):
        commands.export(folder, folder / "e", "sft", Keep(), None, Silent())


def test_what_to_type_after_ctrl_c(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.again(["/usr/bin/rlaif", "label", "--fresh", "--out", "my labels"]) == "rlaif label --out 'my labels'"

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "label_pairs", interrupted)
    flags = ("--constitution", "hhh", "--pairs", "pairs.jsonl", "--critic", LONGER, "--out", "out")
    monkeypatch.setattr("sys.argv", ["rlaif", "label", *flags, "--fresh"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130
    assert capsys.readouterr().err.endswith(f"goes on where it stopped: rlaif label {' '.join(flags)}\n")
