"""What a run leaves for others: cards, and the check that its artifacts are those of the card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Json, say
from rlaif.terminal import Terminal

app = typer.Typer()


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or what `rlaif label` wrote.")],
    notes: Annotated[
        Path | None, typer.Option(help="YAML of what you know, by item of the disclosure card; shown as yours.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write model card, data set card and disclosure card from the artifacts of a run, and card.json with their
    hashes. What is unknown is said to be unknown."""
    from rlaif.commands.card import write

    made, files = write.card(folder, notes, Terminal())
    lines = [f"wrote {file}" for file in files]
    lines.append(
        f"{len(made.artifacts)} artifacts hashed, {sum(len(s.unknown) for s in made.disclosure)} things unknown"
    )
    if made.unfinished:
        lines.append(f"not finished, or not as they were left: {', '.join(made.unfinished)}")
    lines.append(f"next: rlaif replay {files[0]}")
    data = {"files": [str(file) for file in files], "artifacts": len(made.artifacts), "unfinished": made.unfinished}
    say(data, "\n".join(lines), as_json)


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(metavar="CARD", help="card.json, or the folder that it is of.")],
    folder: Annotated[
        Path | None, typer.Option("--in", metavar="DIR", help="The run.", show_default="where the card was written")
    ] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Compute the labels again too, from stored judgements.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that artifacts, constitution, models and prompts are those of a card, hash by hash. Exit code 3 where one
    is missing or differs."""
    from rlaif.commands import replay as commands

    found = commands.replay(path, folder, Terminal(), rerun=rerun)
    data = {**found._asdict(), "differences": [d._asdict() for d in found.differences], "holds": found.holds}
    say(data, commands.describe(found), as_json)
    if not found.holds:
        raise typer.Exit(3)


@app.command()
def push(
    what: Annotated[Path, typer.Argument(metavar="WHAT", help="A model's or data set's folder: RUN/policy/model.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="OWNER/NAME on the Hub.")],
    public: Annotated[bool, typer.Option("--public", help="For everybody; it is private otherwise.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show and scan the files, and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Push a model or a data set to the Hub, with its cards. Shows every file, and refuses with exit code 3 where one
    holds a secret. Needs HF_TOKEN."""
    from rlaif.commands import push as commands

    planned, url = commands.push(what, name, Terminal(), public=public, dry_run=dry_run)
    files = {path: file.stat().st_size for path, file in planned.files.items()}
    data = {"name": name, "kind": planned.kind, "public": public, "files": files, "url": url}
    say(data, f"pushed: {url}" if url else "dry run: nothing was sent", as_json)
