"""Watching: a run in progress, a dead one, a finished one, half-written files; nothing is changed by looking."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlaif.cli import machine
from rlaif.commands import watch
from rlaif.ports.budget import Budget, parse_price
from rlaif.ports.chat import Usage
from rlaif.records.run_folder import RunFolder
from tests.commandline import rlaif

CONFIG = "name: small\npolicy: {updates: 12, algorithm: ppo}\ncost: null\n"
BEFORE = ("prompts", "sample", "revise", "sft", "pairs", "label", "audit", "reward")
ALL = (*BEFORE, "policy", "evaluate", "report")


def write(folder: Path, finished: tuple[str, ...] = BEFORE, updates: int = 4) -> Path:
    """A run folder with so many updates of its policy."""
    (folder / "policy").mkdir(parents=True)
    (folder / "config.resolved.yaml").write_text(CONFIG)
    entry = {"key": "k", "config": "[]", "outputs": {}}
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1, "stages": dict.fromkeys(finished, entry)}))
    rows = [{"step": i, "score": i / 10, "kl": i / 2, "tokens": 20.5, "loss": 9.0} for i in range(1, updates + 1)]
    (folder / "policy/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """A clock that stands still."""
    stopped = time.time()
    monkeypatch.setattr(time, "time", lambda: stopped)
    return stopped


@pytest.fixture
def running(tmp_path: Path, now: float) -> Iterator[Path]:
    """This process holds the folder; its attempt began 100 s before the last update."""
    folder = write(tmp_path / "run")
    held = RunFolder(folder)
    for name, age in (
        (".lock", 100),
        ("manifest.json", 300),
        ("policy/metrics.jsonl", 0),
        ("config.resolved.yaml", 400),
    ):
        os.utime(folder / name, (now - age, now - age))
    yield folder
    held.close()


def look(folder: Path, width: int = 200) -> str:
    return "\n".join(watch.lines(watch.Watcher(folder).look(), width))


def test_a_running_one_has_its_rate_and_the_time_left(running: Path) -> None:
    text = look(running)
    assert f"process {os.getpid()} is at it  last sign of life 0:00 ago" in text
    assert "policy: 4/12  2.4/min  3:20 left" in text  # 4 updates in 100 s, 8 to go
    assert "reward 0.4  KL 2  length 20.5" in text and "reward done  policy ...  evaluate -" in text
    assert "▁" in text and "█" in text


def test_a_resumed_one_counts_from_its_checkpoint(running: Path, now: float) -> None:
    checkpoint = running / "policy/checkpoint/update-000003"
    checkpoint.mkdir(parents=True)
    old = now - 200
    os.utime(checkpoint, (old, old))
    assert "policy: 4/12  0.6/min  13:20 left" in look(running)  # one update in 100 s


def test_while_one_watches_the_rate_is_that_of_what_was_seen(running: Path) -> None:
    watcher = watch.Watcher(running)
    watcher.look()
    watcher._seen[0] = (watcher._seen[0][0] - 10, "policy", 2)  # ten seconds ago it stood at 2
    rate = watcher.look().rate
    assert rate is not None and rate.value == pytest.approx(0.2) and rate.left == pytest.approx(40)


def test_a_dead_one_says_when_it_last_lived(tmp_path: Path, now: float) -> None:
    folder = write(tmp_path / "run")
    old = now - 3725
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (old, old))
    done = rlaif("watch", "run", cwd=tmp_path)
    assert done.returncode == 0
    assert "stopped: no process is at it  last sign of life 1:02:05 ago" in done.stdout and "left" not in done.stdout
    assert done.stdout.endswith("next: rlaif run run/config.resolved.yaml --out run\n")


def test_a_stage_that_runs_again_is_not_finished_nor_what_comes_after_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", ALL)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "again": BEFORE[1]}))
    shown = rlaif("watch", "run", cwd=tmp_path).stdout
    assert shown.startswith("small: stopped") and f"{BEFORE[0]} done" in shown
    assert f"{BEFORE[1]} ..." in shown and f"{BEFORE[2]} -" in shown and "report -" in shown


def test_a_finished_one_is_finished(tmp_path: Path) -> None:
    write(tmp_path / "run", ALL, updates=12)
    done = rlaif("watch", "run", "--once", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["done"] and found["stage"] is None and found["figures"]["score"] == 1.2
    assert rlaif("watch", "run", cwd=tmp_path).stdout.startswith("small: finished\n")


def test_torn_files_are_said_or_left_out(running: Path) -> None:
    with (running / "policy/metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "sco')
    (running / "manifest.json").write_text('{"stages": {"prom')
    (running / "policy/audits.jsonl").write_text('{"kind": "audits"}\n{"upda')
    text = look(running)
    assert "cannot be read: manifest.json" in text and "Traceback" not in text
    (running / "config.resolved.yaml").write_text("")
    assert "cannot be read: config.resolved.yaml" in look(running)


def test_audits_counts_and_money_are_shown(running: Path) -> None:
    audit = {
        "update": 4,
        "missing": None,
        "win_rate": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8},
        "fired": ["kl>9"],
    }
    (running / "policy/audits.jsonl").write_text('{"kind": "audits"}\n' + json.dumps(audit) + "\n")
    budget = Budget(running / "spend.sqlite", parse_price("1/2"))
    budget.settle(budget.reserve(1000, 1000), Usage(500_000, 250_000))
    with sqlite3.connect(running / "policy/answers.sqlite") as db:
        db.execute("CREATE TABLE uses (asked, failed, prompt_tokens, completion_tokens)")
        db.execute("INSERT INTO uses VALUES (8, 1, 900, 8)")
    text = look(running)
    assert "audit at update 4: critic win rate 0.50 [0.25, 0.75], fired: kl>9" in text
    assert "spent $1.0000  requests 1  tokens read 500,000" in text and "asked 8  failed 1  tokens read 900" in text


def test_looking_changes_nothing(running: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in running.rglob("*")}
    watch.Watcher(running).look()
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in running.rglob("*")}


def test_hostile_names_and_narrow_terminals_do_no_harm(running: Path) -> None:
    (running / "config.resolved.yaml").write_text('name: "evil \\e[2J\\u202e name"\npolicy: {updates: 12}\n')
    page = machine._page(watch.Watcher(running).look(), 24)
    assert all(len(line) <= 24 for line in page) and page[0].startswith("evil \\x1b[2J\\x202e name")
    assert "\x1b" not in "".join(page)


def test_the_live_view_ends_with_the_run(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Ending(watch.Watcher):
        looks = 0

        def look(self) -> watch.Picture:
            self.looks += 1
            found = super().look()
            return found if self.looks < 3 else found._replace(running=None)

    watcher = Ending(running)
    assert machine._live(watcher, 0.0).running is None and watcher.looks == 3


def test_values_are_drawn_from_low_to_high() -> None:
    assert watch.trace([0, 1, 2, 3, 4, 5, 6, 7], 8) == watch.BARS
    assert watch.trace([1, 1, 1], 8) == "▁▁▁" and watch.trace([0, 0, 5, 5], 2) == "▁█"


@pytest.mark.parametrize(("name", "words"), [("nowhere", "no such folder"), (".", "no run folder")])
def test_what_is_no_run_is_refused(name: str, words: str, tmp_path: Path) -> None:
    done = rlaif("watch", name, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr
