"""The report: of a run file, which runs what is left to do; of a run folder as it stands; of two folders together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Fresh, Json, Out, Sets, say
from rlaif.cli.run import run_until
from rlaif.records.errors import InputError
from rlaif.terminal import Terminal

app = typer.Typer()


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run file, or a run folder such as runs/NAME.")],
    other: Annotated[Path | None, typer.Argument(metavar="[RUN2]", help="A second run folder to compare with.")] = None,
    out: Out = None,
    fresh: Fresh = False,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Write the report: one JSON, one page. Of a run file it runs first what is not finished. Of a run FOLDER it shows
    what there is, also of a run that failed half-way, and runs nothing; with a second folder, the two side by side, and
    --out then names the page."""
    from rlaif.commands import report as commands

    folder = Path(run)
    if not folder.is_dir():
        if other is not None:
            raise InputError("only run folders can be compared", file=run, fix="name two folders such as runs/NAME")
        return run_until(run, "report", out, fresh, sets, as_json)
    if fresh or sets or (out is not None and other is None):
        fix = "leave out --fresh, --set and --out, or name the run file"
        raise InputError("a report of a folder runs nothing, and is written into it", file=run, fix=fix)
    if other is not None:
        path = commands.compare(folder, other, out, Terminal())
        say({"comparison": str(path.absolute())}, f"comparison: {path.absolute()}", as_json)
        return None
    made = commands.write(folder, Terminal())
    page = folder / "report" / "report.html"
    say(commands.data(made, page), commands.text(made, page), as_json)
    return None
