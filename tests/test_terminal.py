"""What reaches a terminal."""

from __future__ import annotations

import io
import os
import shutil
import time

import pytest

from rlaif.terminal import Terminal, clean

COUNTS: dict[str, float | str] = {"cached": 10, "ok": 228, "failed": "2 (0.8%)", "ties": "3.1%", "flips": "8.2%"}


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def wide(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))


def test_control_and_bidirectional_characters_are_shown_not_obeyed() -> None:
    assert clean("a\x1b[2Jb\u202ec\x07\rd") == "a\\x1b[2Jb\\x202ec\\x07\\x0dd"
    assert clean("two\nlines\tand – ünïcode 漢字") == "two\nlines\tand – ünïcode 漢字"


def test_plain_output_is_lines() -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    for done in range(1, 101):
        terminal.progress("work", done, 100, {"failed": 0})
    assert out.getvalue().splitlines()[-1] == "work: 100/100  failed 0"
    assert len(out.getvalue().splitlines()) <= 3  # not a line a step
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_one_line_that_rewrites_itself() -> None:
    screen = Screen()
    terminal = Terminal(screen)
    terminal.progress("work", 1, 2)
    terminal.line("something")
    assert screen.getvalue() == "\r\x1b[2Kwork: 1/2\nsomething\n"


def test_one_readable_line_with_everything(clock: Clock) -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.progress("pairs", 20, 200)
    clock.now += 25
    terminal.progress("pairs", 120, 200, {**COUNTS, "tokens": "12.3k+480", "cost": "$0.0123 of $1.00"})
    clock.now += 3700
    terminal.progress("pairs", 200, 200)
    assert out.getvalue().splitlines()[1:] == [
        "pairs: 120/200  4.0/s  0:20 left  cached 10  ok 228  failed 2 (0.8%)  ties 3.1%  flips 8.2%"
        "  tokens 12.3k+480  cost $0.0123 of $1.00",
        "pairs: 200/200  in 1:02:05",
    ]


def test_the_rate_forgets_what_was_stored_already(clock: Clock) -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.progress("pairs", 0, 1000)
    clock.now += 1
    terminal.progress("pairs", 500, 1000)  # from the store, at once
    for _ in range(10):
        clock.now += 20
        terminal.progress("pairs", 500 + int((clock.now - 1001) * 2), 1000)
    assert "  2.0/s  0:50 left" in out.getvalue().splitlines()[-1]


def test_a_narrow_terminal_cuts_the_end_off_and_keeps_one_line(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    wide(monkeypatch, 40)
    screen = Screen()
    terminal = Terminal(screen)
    terminal.progress("pairs", 0, 200)
    clock.now += 25
    terminal.progress("pairs", 100, 200, COUNTS)
    shown = screen.getvalue().split("\r\x1b[2K")[-1]
    assert shown == "pairs: 100/200  4.0/s  0:25 left  cach…"
    assert len(shown) < 40
    terminal.progress("pairs", 200, 200, COUNTS)
    assert screen.getvalue().endswith("flips 8.2%\n")  # the last one stays, whole


def test_what_is_said_by_another_reporter_starts_on_its_own_line() -> None:
    screen = Screen()
    Terminal(screen).progress("pairs", 1, 2)
    Terminal(screen).line("interrupted")
    assert screen.getvalue() == "\r\x1b[2Kpairs: 1/2\ninterrupted\n"
