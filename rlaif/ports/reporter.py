"""How a stage speaks while it runs. The command line decides where the words go."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """`line` says something once; `progress` replaces what it said before about the same stage."""

    def line(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int, counts: dict[str, float | str] | None = None) -> None: ...


class Silent:
    """Says nothing."""

    def line(self, text: str) -> None:
        return None

    def progress(self, what: str, done: int, total: int, counts: dict[str, float | str] | None = None) -> None:
        return None


def clock(seconds: float) -> str:
    """A duration as people read it: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
