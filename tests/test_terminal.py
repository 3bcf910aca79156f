"""What reaches a terminal."""

from __future__ import annotations

import io

from rlaif.terminal import Terminal, clean


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


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
