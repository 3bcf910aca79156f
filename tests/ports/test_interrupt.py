"""Ctrl-C once and twice."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from rlaif.ports import interrupt


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_is_said_and_remembered_the_second_stops() -> None:
    before, said = signal.getsignal(signal.SIGINT), list[str]()
    with pytest.raises(KeyboardInterrupt), interrupt.draining(said.append):
        assert not interrupt.requested()
        press()
        assert interrupt.requested() and len(said) == 1
        press()
    assert len(said) == 1 and not interrupt.requested()
    assert signal.getsignal(signal.SIGINT) is before


def test_it_does_nothing_in_another_thread() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with interrupt.draining(print):
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
