"""The command line: arguments in, one stage or pipeline call, one answer out.

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 a defect of rlaif, 2 bad input,
3 stopped on purpose (too many failures, a gate or a test that does not hold, the sync canary, NaN), 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from rlaif import __version__
from rlaif.cli import (
    audit,
    card,
    constitution,
    critic,
    evaluate,
    instruments,
    labels,
    machine,
    project,
    report,
    run,
    settings,
    tinyworld,
)
from rlaif.cli.overview import Overview
from rlaif.records.errors import InputError, RunHalted
from rlaif.terminal import Terminal

app = typer.Typer(
    name="rlaif",
    cls=Overview,
    help="Align language models with AI feedback: one constitution file to an aligned policy.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(project.app)
app.add_typer(run.app)
app.add_typer(report.app)
app.add_typer(card.app)
app.add_typer(machine.app)
app.add_typer(labels.app)
app.add_typer(audit.app, name="labels")
app.add_typer(constitution.app, name="constitution")
app.add_typer(critic.app, name="critic")
app.add_typer(evaluate.app)
app.add_typer(instruments.app)
app.add_typer(settings.app, name="config")
app.add_typer(tinyworld.app, name="tinyworld")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


# Read by native libraries when they load: threads that sleep while they wait instead of spinning (ten times faster on
# shared cores), and no chatter about memory binding among our own lines.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TORCH_CPP_LOG_LEVEL": "ERROR"}

# typer loads these, which take half of its time, to check values and to colour help; completion shows neither, and does
# without where they cannot be imported.
NOT_FOR_COMPLETION = ("pydantic", "rich")

INTERRUPTED = 130
# Commands make and drop millions of small records without cycles: looking for cycles after every 700 of them, as Python
# does by itself, is a tenth of the time of `rlaif relabel`.
COLLECT_EVERY = 50_000

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG)


def main() -> None:
    """Entry point of the `rlaif` command."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character shows its number
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    if "_RLAIF_COMPLETE" in os.environ:
        for name in NOT_FOR_COMPLETION:
            sys.modules[name] = None  # type: ignore[assignment]  # this is how an import is made to fail
    try:
        app()
    except InputError as error:
        _fail(str(error), 2)
    except RunHalted as error:
        _fail(f"stopped: {error}", 3)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            if isinstance(end.__context__, OSError) and end.__context__.errno == errno.EPIPE:
                _reader_gone()
            raise
        _fail(f"interrupted; this goes on where it stopped: {again(sys.argv)}", INTERRUPTED)
    except BrokenPipeError:
        _reader_gone()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror}{where}. Fix: make room, or choose another folder; the same command goes on", 2)


def _reader_gone() -> NoReturn:
    """Who reads our output wants no more, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(128 + signal.SIGPIPE) from None


def again(arguments: Sequence[str]) -> str:
    """The command that goes on where this one stopped: the same, but never with --fresh."""
    return shlex.join(["rlaif", *(a for a in arguments[1:] if a != "--fresh")])


def _fail(message: str, code: int) -> None:
    Terminal().line(f"error: {message}" if code != INTERRUPTED else message)
    raise SystemExit(code)
