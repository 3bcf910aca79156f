"""`rlaif evaluate`: of a run, or of any models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Fresh, Json, Sets, say
from rlaif.cli.run import run_until
from rlaif.records.errors import InputError
from rlaif.terminal import Terminal

app = typer.Typer()


@app.command()
def evaluate(
    run_file: Annotated[str | None, typer.Argument(metavar="[RUN.yaml]", help="The evaluate stage of a run.")] = None,
    model: Annotated[str | None, typer.Option(help="NAME=ENGINE:MODEL, or NAME=FILE.jsonl of its outputs.")] = None,
    against: Annotated[list[str] | None, typer.Option(help="A baseline, written like --model (repeatable).")] = None,
    prompts: Annotated[list[str] | None, typer.Option(help="File, shipped set or Hub data set (repeatable).")] = None,
    constitution: Annotated[str | None, typer.Option(help="Constitution file or shipped name.")] = None,
    critic: Annotated[str | None, typer.Option(help="ENGINE:MODEL that judges.")] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run folder: start, sft and policy are its models.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="auto, logprob, cot, votes or score.")] = None,
    round_robin: Annotated[bool, typer.Option(help="Compare baselines with each other too.")] = False,
    temperature: Annotated[float | None, typer.Option(min=0, help="Of replies; 0 is greedy.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest reply.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first rows of each set.")] = None,
    seed: Annotated[int, typer.Option(help="Of replies and of bootstrap samples.")] = 0,
    price: Annotated[str | None, typer.Option(help="US dollars a million tokens, prompt/reply: 0.15/0.60.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="US dollars that may be spent in all.")] = None,
    max_failure_rate: Annotated[float | None, typer.Option(help="Stop where more answers fail.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.")] = None,
    fresh: Fresh = False,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Judge models on prompts: those of a run, or any model against baselines with --model, --against, --prompts,
    --constitution, --critic and --out. With --run, critic and constitution are the run's where not given."""
    if run_file is not None:
        return run_until(run_file, "evaluate", out, fresh, sets, as_json)
    if model is None or not against or not prompts or out is None:
        fix = "give a RUN.yaml, or --model, --against, --prompts, --constitution, --critic and --out"
        raise InputError("what to evaluate is not said", fix=fix)
    if sets:
        raise InputError("this changes a run file, and none is given", field="--set", fix="use the options instead")
    from rlaif.commands.evaluation import command, table
    from rlaif.commands.labels import label_config

    wanted = command.Wanted(
        *(model, against, prompts, constitution, critic, out, run, limit, temperature, max_tokens, round_robin, seed),
        price=price,
        max_cost=max_cost,
        fresh=fresh,
    )
    config = label_config([], {"mode": mode, "max_failure_rate": max_failure_rate}, [])
    found = command.evaluate(wanted, config, Terminal())
    say(found.model_dump(), f"{table.describe(found)}\n\n{table.following(found, out)}", as_json)
