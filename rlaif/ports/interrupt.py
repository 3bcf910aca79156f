"""The first Ctrl-C asks to stop, the second stops.

Whoever waits for paid answers asks `requested` before it sends anything more, and stores what is on its way; whoever
trains asks after every step.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_asked = threading.Event()


def requested() -> bool:
    """Whether Ctrl-C was pressed since `draining` began."""
    return _asked.is_set()


def heed() -> None:
    """Stop here if that was asked for.

    Raises:
        KeyboardInterrupt: it was.
    """
    if requested():
        raise KeyboardInterrupt


@contextmanager
def draining(say: Callable[[str], None]) -> Iterator[None]:
    """Within this context the first Ctrl-C is said and remembered; the second raises KeyboardInterrupt.

    In other threads than the main one, where Python allows no signal handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if _asked.is_set():
            raise KeyboardInterrupt
        _asked.set()
        say("finishing what is in flight; Ctrl-C again stops at once")

    _asked.clear()
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _asked.clear()
