"""`rlaif config`: what a run file comes to."""

from __future__ import annotations

import typer

from rlaif.cli.options import Json, RunFile, Sets, say
from rlaif.cli.overview import Whole

app = typer.Typer(cls=Whole, help="What a run file comes to.", no_args_is_help=True)


@app.command("show")
def config_show(run_file: RunFile, sets: Sets = None, as_json: Json = False) -> None:
    """Print every setting of a run with where it comes from: default, the file's line, environment, --set. Each wins
    over those before it. Then what else the environment says; keys are not shown."""
    from rlaif import config as configs
    from rlaif.commands import settings as commands

    found = commands.show(configs.named(run_file), sets or [])
    text = f"{commands.describe(found)}\n\nnext: rlaif estimate {run_file}"
    say({row.key: {"value": row.value, "source": row.source} for row in found}, text, as_json)
