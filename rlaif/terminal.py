"""Everything that rlaif prints goes through here: progress to standard error, results to standard output.

Model text and file content may hold escape sequences that rewrite a terminal, so control and bidirectional characters
are shown as escapes. On a terminal a progress line rewrites itself; elsewhere one is printed at most every few seconds.
"""

from __future__ import annotations

import re
import sys
import time
from typing import TextIO

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")
PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal


def clean(text: str) -> str:
    """Text that cannot move the cursor, change colours or reverse its reading direction."""
    return CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", text)


class Terminal:
    """The command line's reporter."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._open = False  # a progress line stands unfinished
        self._began: dict[str, tuple[float, int]] = {}
        self._said = 0.0

    def line(self, text: str) -> None:
        self._end()
        self._stream.write(clean(text) + "\n")
        self._stream.flush()

    def progress(self, what: str, done: int, total: int, counts: dict[str, float | str] | None = None) -> None:
        """`done` of `total`, the rate since this was first heard of, and the time left at that rate."""
        now = time.monotonic()
        begun, first = self._began.setdefault(what, (now, done))
        finished = done >= total
        if not self._live and not finished and now - self._said < PLAIN_INTERVAL:
            return
        rate = (done - first) / (now - begun) if now > begun and done > first else 0.0
        left = f"  {rate:.1f}/s  {_clock((total - done) / rate)} left" if rate and not finished else ""
        extra = "".join(f"  {name} {value}" for name, value in (counts or {}).items())
        text = clean(f"{what}: {done}/{total}{extra}{left}")
        self._stream.write(f"\r\x1b[2K{text}" if self._live else f"{text}\n")
        self._stream.flush()
        self._open, self._said = self._live, now
        if finished:
            self._end()
            self._began.pop(what, None)

    def _end(self) -> None:
        if self._open:
            self._stream.write("\n")
            self._open = False


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
