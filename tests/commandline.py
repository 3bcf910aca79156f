"""The command line run in this process, for the tests of commands."""

from __future__ import annotations

import contextlib
import io
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from rlaif import cli

command_of = cache(typer.main.get_command)  # a tenth of a second, and the same every time


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def rlaif(*arguments: str, cwd: Path) -> Done:
    """What `rlaif ARGUMENTS` does in `cwd`; an escaping exception fails the test, as a traceback would."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["rlaif", *arguments])
        patch.setattr(typer.main, "get_command", command_of)
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
