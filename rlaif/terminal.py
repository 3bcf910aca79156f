"""Everything that rlaif prints goes through here: progress to standard error, results to standard output.

Model text and file content may hold escape sequences that rewrite a terminal, so control and bidirectional characters
are shown as escapes. On a terminal a progress line rewrites itself; elsewhere one is printed at most every few seconds.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections import deque
from typing import ClassVar, TextIO

from rlaif.ports.reporter import clock

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")
PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal
RATE_SECONDS = 60.0  # the rate is that of the last minute: what was stored already goes by at once


def clean(text: str) -> str:
    """Text that cannot move the cursor, change colours or reverse its reading direction."""
    return CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", text)


class Terminal:
    """The command line's reporter."""

    _unfinished: ClassVar[TextIO | None] = None  # where a progress line stands open, whichever reporter wrote it

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._seen: dict[str, deque[tuple[float, int]]] = {}  # when how much was done
        self._began: dict[str, float] = {}
        self._said = 0.0

    def line(self, text: str) -> None:
        self._end()
        self._stream.write(clean(text) + "\n")
        self._stream.flush()

    def progress(self, what: str, done: int, total: int, counts: dict[str, float | str] | None = None) -> None:
        """`done` of `total`, the rate of the last minute, the time left at that rate, and the counts, in that order: a
        narrow terminal cuts the end off. When it is finished, the time that it took."""
        now = time.monotonic()
        seen = self._seen.setdefault(what, deque())
        seen.append((now, done))
        while len(seen) > 2 and now - seen[0][0] > RATE_SECONDS:
            seen.popleft()
        took = now - self._began.setdefault(what, now)
        finished = done >= total
        if not self._live and not finished and now - self._said < PLAIN_INTERVAL:
            return
        rate = (done - seen[0][1]) / (now - seen[0][0]) if now > seen[0][0] else 0.0
        pace = f"  {rate:.1f}/s  {clock((total - done) / rate)} left" if rate and not finished else ""
        pace = f"  in {clock(took)}" if finished and took >= 1 else pace
        extra = "".join(f"  {name} {value}" for name, value in (counts or {}).items())
        text = clean(f"{what}: {done}/{total}{pace}{extra}")
        if self._live:
            columns = shutil.get_terminal_size().columns
            text = f"\r\x1b[2K{text if len(text) < columns or finished else text[: columns - 2] + '…'}"
        self._stream.write(text if self._live else f"{text}\n")
        self._stream.flush()
        Terminal._unfinished, self._said = self._stream if self._live else None, now
        if finished:
            self._end()
            self._began.pop(what, None)
            self._seen.pop(what, None)

    def _end(self) -> None:
        if Terminal._unfinished is not None:
            Terminal._unfinished.write("\n")
            Terminal._unfinished = None
