"""`rlaif labels`: look at labels that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Json, say
from rlaif.cli.overview import Whole
from rlaif.terminal import Terminal

app = typer.Typer(cls=Whole, help="Look at labels that are there.", no_args_is_help=True)
GATE_HELP = (
    "NAME>=NUMBER or NAME<=NUMBER, such as swap_consistency>=0.8 (repeatable). NAME is any figure shown; biases "
    "are compared by their size. Exit code 3 where a gate does not hold."
)


@app.command("audit")
def labels_audit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `rlaif label` wrote, or a run folder.")],
    gold: Annotated[str | None, typer.Option(help="Pairs with known choices of the same texts.")] = None,
    require: Annotated[list[str] | None, typer.Option("--require", help=GATE_HELP)] = None,
    critic: Annotated[str | None, typer.Option("--critic", help="ENGINE:MODEL to ask again.")] = None,
    retest: Annotated[int | None, typer.Option(min=1, help="Ask the critic so many stored questions again.")] = None,
    same: Annotated[str | None, typer.Option(help="The name of the critic's model in meta.models.")] = None,
    as_json: Json = False,
) -> None:
    """Measure labels from what is stored: biases, flips, failures, principles, agreement; and hold them to gates."""
    from rlaif.commands import audit as commands

    found = commands.audit(folder, gold, require or [], Terminal(), critic=critic, retest=retest, same=same)
    holds = all(result.holds for result in found.gates)
    text = f"{commands.describe(found)}\n\nnext: rlaif constitution ablate {folder}"
    say({**found.model_dump(), "holds": holds}, text, as_json)
    if not holds:
        raise typer.Exit(3)
