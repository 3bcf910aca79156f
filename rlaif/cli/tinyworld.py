"""`rlaif tinyworld`: the embedded simulated world."""

from __future__ import annotations

from typing import Annotated

import typer

from rlaif.cli.options import OutFolder
from rlaif.cli.overview import Whole

app = typer.Typer(cls=Whole, help="The embedded simulated world.", no_args_is_help=True)


@app.command("train")
def tinyworld_train(
    out: OutFolder,
    seed: Annotated[int, typer.Option(help="Everything is derived from it.")] = 0,
    model: Annotated[list[str] | None, typer.Option(help="Only this one of them, such as scorer (repeatable).")] = None,
) -> None:
    """Rebuild the shipped tiny models from a seed (many minutes on two cores), and print their held-out table."""
    from rlaif.tinyworld.training import NAMES, train

    train(out, seed, names=model or NAMES)
