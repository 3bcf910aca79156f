"""Metrics as JSON lines, always written: `metrics.jsonl`, read by `rlaif.records.metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlaif.engines.tracker.base import ClosingTracker, finite
from rlaif.records import metrics as records
from rlaif.records.files import canonical_json, write_text

FILE = "metrics.jsonl"


class JsonlTracker(ClosingTracker):
    """A `Tracker` that appends one JSON object a line, `step` and the numbers.

    A line is in the file when `log` returns (a killed process loses none; a power cut may lose the last ones). The same
    step may be logged twice, with different numbers.

    Args:
        folder: the stage's folder.
        keep_until: see `Tracker`; a last line that a crash tore is cut off.

    Raises:
        InputError: the file of an earlier attempt is damaged elsewhere than in its last line.
    """

    def __init__(self, folder: Path, *, keep_until: int = 0) -> None:
        path = folder / FILE
        write_text(path, _kept(path, keep_until))
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._file.write(_line(step, finite(step, metrics)))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(step: int, metrics: Mapping[str, float]) -> str:
    return canonical_json({"step": step, **metrics}) + "\n"


def _kept(path: Path, keep_until: int) -> str:
    if keep_until == 0 or not path.is_file():
        return ""
    written = path.read_bytes()
    whole = written[: written.rfind(b"\n") + 1]  # a torn line is one without its end
    write_text(path, whole.decode("utf-8"))
    return "".join(_line(row.step, row.values) for row in records.read(path) if row.step <= keep_until)
