from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlaif.engines.tracker.jsonl import JsonlTracker
from rlaif.engines.tracker.tensorboard import TensorboardTracker
from rlaif.ports.engines import Engines
from rlaif.ports.tracker import Tracker
from rlaif.records import metrics
from rlaif.records.errors import InputError, RunHalted


def steps(folder: Path) -> list[int]:
    return [row.step for row in metrics.read(folder / "metrics.jsonl")]


def fill(folder: Path, last: int) -> None:
    with JsonlTracker(folder) as tracker:
        for step in range(1, last + 1):
            tracker.log(step, {"kl": step / 10})


def test_what_is_logged_is_read_back_at_once(tmp_path: Path) -> None:
    with JsonlTracker(tmp_path / "sft") as tracker:
        tracker.log(0, {"heldout_loss": 2.5})
        tracker.log(3, {"loss": 0.1, "accuracy": 1})
        tracker.log(3, {"heldout_loss": 1e-9})
        rows = metrics.read(tmp_path / "sft" / "metrics.jsonl")  # while it is open: a crash loses nothing
    assert rows == [
        metrics.Row(0, {"heldout_loss": 2.5}),
        metrics.Row(3, {"loss": 0.1, "accuracy": 1.0}),
        metrics.Row(3, {"heldout_loss": 1e-9}),
    ]


def test_a_resumed_run_repeats_no_step(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    uninterrupted = (tmp_path / "metrics.jsonl").read_bytes()
    with JsonlTracker(tmp_path, keep_until=3) as tracker:
        tracker.log(4, {"kl": 0.4})
        tracker.log(5, {"kl": 0.5})
    assert (tmp_path / "metrics.jsonl").read_bytes() == uninterrupted


def test_a_run_from_the_beginning_starts_the_file_anew(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    with JsonlTracker(tmp_path) as tracker:
        tracker.log(0, {"kl": 0.0})
    assert steps(tmp_path) == [0]


@pytest.mark.parametrize("torn", [b'{"step":6,"kl"', b'{"step":6,"kl":0.6}', b"\xc3", b'{"kl":'])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    fill(tmp_path, 5)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    with JsonlTracker(tmp_path, keep_until=9) as tracker:
        tracker.log(6, {"kl": 0.7})
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_damage_elsewhere_is_named(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace('"step":2', '"step":'))
    with pytest.raises(InputError, match=r"metrics\.jsonl:2"):
        JsonlTracker(tmp_path, keep_until=3)


@pytest.mark.parametrize("make", [JsonlTracker, TensorboardTracker])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_halts_and_is_not_written(
    tmp_path: Path, make: Callable[[Path], Tracker], value: float
) -> None:
    pytest.importorskip("tensorboard")
    with make(tmp_path) as tracker, pytest.raises(RunHalted, match=r"kl is .* at step 7"):
        tracker.log(7, {"loss": 1.0, "kl": value})
    written = tmp_path / "metrics.jsonl"
    assert not written.exists() or written.read_text() == ""


def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with TensorboardTracker(tmp_path) as tracker:
        for step in range(1, 6):
            tracker.log(step, {"kl": 1.0})
    with TensorboardTracker(tmp_path, keep_until=3) as tracker:
        tracker.log(4, {"kl": 2.0})
    seen = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    seen.Reload()
    assert [(event.step, event.value) for event in seen.Scalars("kl")] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]


def test_a_run_that_asks_for_tensorboard_writes_both(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    engines = Engines()
    engines.trackers = ["tensorboard"]
    with engines.tracker(tmp_path) as tracker:
        tracker.log(1, {"guard/win_rate": 0.5})
    seen = accumulators.EventAccumulator(str(tmp_path / "tensorboard"))
    seen.Reload()
    assert [(event.step, event.value) for event in seen.Scalars("guard/win_rate")] == [(1, 0.5)]
    assert steps(tmp_path) == [1]
