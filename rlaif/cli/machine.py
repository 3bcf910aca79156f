"""What this machine can do, and what a run on it is doing."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlaif.cli.options import Json, say
from rlaif.terminal import Terminal, clean

if TYPE_CHECKING:
    from rlaif.commands.watch import Picture, Watcher

app = typer.Typer()


@app.command()
def doctor(
    critic: Annotated[list[str] | None, typer.Option(help="ENGINE:MODEL to ask too (repeatable).")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one engine may take.")] = 300.0,
    as_json: Json = False,
) -> None:
    """What is installed, which engines work (one token of each), GPU, memory, disk; and what to do about what does not
    work. Exit code 3 where there is a problem."""
    from rlaif.commands import doctor as commands

    checks = commands.examine(critic or [], Terminal(), timeout)
    good = all(check.state != "problem" for check in checks)
    following = "rlaif quickstart" if good else "mend the problems above, then rlaif doctor"
    text = f"{commands.describe(checks)}\nnext: {following}"
    say({"holds": good, "checks": [check._asdict() for check in checks]}, text, as_json)
    if not good:
        raise typer.Exit(3)


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, of this or of another process.")],
    once: Annotated[bool, typer.Option("--once", help="One picture; so it is wherever this is no terminal.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Watch a run in progress: stages, rate and time left, reward, KL, win rate, lengths, spending. Reads, and changes
    nothing; Ctrl-C ends the watching, not the run."""
    from rlaif.commands import watch as commands

    watcher = commands.Watcher(folder)
    picture = watcher.look()
    if sys.stdout.isatty() and not once and not as_json and picture.running is not None:
        picture = _live(watcher, every)
    following = f"rlaif card {folder}" if picture.done else f"rlaif run {folder / commands.CONFIG} --out {folder}"
    page = _page(picture, shutil.get_terminal_size().columns if sys.stdout.isatty() else 200)
    if picture.running is None:
        page.append(f"next: {following}")
    say({**picture._asdict(), "done": picture.done}, "\n".join(page), as_json)


def _live(watcher: Watcher, every: float) -> Picture:
    """Draw the run again and again, until no process is at it or Ctrl-C; the last picture."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(markup=False, highlight=False)
    picture = watcher.look()
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False, transient=True) as live:
        while picture.running is not None:
            live.update(Text("\n".join(_page(picture, console.width)), no_wrap=True), refresh=True)
            time.sleep(every)
            picture = watcher.look()
    return picture


def _page(picture: Picture, width: int) -> list[str]:
    """Lines that fit, and do nothing but stand there."""
    from rlaif.commands import watch as commands

    safe = [clean(line) for line in commands.lines(picture, width)]
    return [line if len(line) <= width else f"{line[: max(0, width - 1)]}…" for line in safe]
