"""The answer store: whole rows whatever happens, and a real kill -9 in the middle of writing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlaif.records.errors import InputError
from rlaif.records.store import AnswerStore, stored_uses
from rlaif.records.usage import Use

WRITER = """
import sys
from pathlib import Path
from rlaif.records.store import AnswerStore
store = AnswerStore(Path(sys.argv[1]))
for number in range(10**9):
    store.put({f"{number}-{part}": "x" * 500 for part in range(10)})
    print(number, flush=True)
"""


def test_put_get_and_replace(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "s.sqlite")
    store.put({"a": "1", "b": "2"})
    store.put({"b": "3"})
    assert store.get(["a", "b", "c"]) == {"a": "1", "b": "3"}
    assert len(store) == 2
    store.close()
    assert AnswerStore(tmp_path / "s.sqlite").get(["b"]) == {"b": "3"}


def test_more_keys_than_one_statement_takes(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "s.sqlite")
    store.put({str(i): "x" for i in range(1234)})
    assert len(store.get(str(i) for i in range(2000))) == 1234


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"this is no database, and never was one" * 40)
    with pytest.raises(InputError, match=r"s\.sqlite.*Fix"):
        AnswerStore(path)


def test_kill_9_leaves_whole_transactions(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"{attempt}.sqlite"
        command = [sys.executable, "-c", WRITER, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 * attempt)
        process.send_signal(signal.SIGKILL)
        said = [0, *map(int, process.stdout.read().split())]
        process.wait()
        store = AnswerStore(path)
        assert len(store) % 10 == 0  # no transaction is there in part
        promised = {f"{number}-{part}" for number in said for part in range(10)}
        assert len(store.get(promised)) == len(promised)  # what was reported is there
        store.close()


def test_what_answers_took_adds_up_over_processes_and_a_kill(tmp_path: Path) -> None:
    """Ten answers of three tokens a transaction: after a kill, the count is that of the answers which are there."""
    program = WRITER.replace("for part in range(10)})", "for part in range(10)}, USE)").replace(
        "store = ",
        "from rlaif.records.usage import Use\n"
        "USE = Use(purpose='pairs', model='fake:m', asked=10, completion_tokens=30, completion_squares=90)\nstore = ",
    )
    path = tmp_path / "s.sqlite"
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = AnswerStore(path)
    (use,) = store.uses()
    assert use.asked == len(store) >= 10 and use.completion_tokens == 3 * use.asked
    store.put({}, Use(purpose="pairs", model="fake:m", cached=4, seconds=0.5))
    store.put({"x": "1"}, Use(purpose="pairs", model="other:m", asked=1, failed=1))
    store.close()
    first, second = stored_uses(path)
    assert first == use.model_copy(update={"cached": 4, "seconds": 0.5})
    assert (second.model, second.asked, second.failed) == ("other:m", 1, 1)
    assert stored_uses(tmp_path / "none.sqlite") == []


def test_a_full_disk_is_no_reason_to_throw_answers_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AnswerStore(tmp_path / "answers.sqlite")
    store.put({"a": "1"})
    store._db.execute("PRAGMA max_page_count = 1")  # what SQLite says of a disk without room
    with pytest.raises(InputError, match=r"answers\.sqlite: .* full\. Fix: make room"):
        store.put({str(n): "x" * 4000 for n in range(50)})
    store._db.execute("PRAGMA max_page_count = 1000")
    assert store.get(["a"]) == {"a": "1"}
    store.put({"b": "2"})
    assert len(store) == 2
    store.close()
