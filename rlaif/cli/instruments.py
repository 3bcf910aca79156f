"""Instruments that look at a policy beside its critic and its reward."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Json, Limit, say
from rlaif.terminal import Terminal

app = typer.Typer()
RUN_HELP = "A run folder, such as runs/NAME; every option has its value from there."


@app.command()
def gap(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN_FOLDER]", help=RUN_HELP)] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="start, sft or policy of the run, or ENGINE:MODEL (repeatable).", show_default="sft, policy"),
    ] = None,
    critic: Annotated[str | None, typer.Option(help="ENGINE:MODEL of the critic to measure.")] = None,
    constitution: Annotated[str | None, typer.Option(help="What critic and judge are asked.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompts: a file or a shipped set.")] = None,
    judge: Annotated[str | None, typer.Option(help="ENGINE:MODEL that says what is truly better.")] = None,
    scorer: Annotated[str | None, typer.Option(help="module:Class that says so instead, by its prefer().")] = None,
    samples: Annotated[int, typer.Option("-n", "--samples", min=2, help="Samples of each prompt.")] = 4,
    temperature: Annotated[float | None, typer.Option(help="Of sampling; above 0.", show_default="1")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest reply.", show_default="96")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling.", show_default="0")] = None,
    price: Annotated[str | None, typer.Option(help="US dollars a million tokens, prompt/reply: 0.15/0.60.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="US dollars that may be spent in all.")] = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.", show_default="RUN/gap")] = None,
    as_json: Json = False,
) -> None:
    """How much better the replies are that the critic picks than those that the policy writes, by an independent judge:
    what more training against this critic can still give."""
    from rlaif.commands import gap as commands

    options = commands.Options(
        run=run,
        models=model or [],
        critic=critic,
        constitution=constitution,
        prompts=prompts,
        judge=judge,
        scorer=scorer,
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens,
        limit=limit,
        seed=seed,
        price=price,
        max_cost=max_cost,
        out=out,
    )
    subject = commands.subject(options)
    found = commands.run(subject, Terminal())
    say(found.model_dump(), f"{commands.describe(found)}\n\nkept: {subject.out / 'gap.json'}", as_json)


@app.command("tune-decoding")
def tune_decoding(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN_FOLDER]", help=RUN_HELP)] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder or Hub name.", show_default="RUN/policy/model")
    ] = None,
    reward: Annotated[str | None, typer.Option(help="Reward model's folder.", show_default="RUN/reward/model")] = None,
    prompts: Annotated[str | None, typer.Option(help="Held-out prompts: a file or a shipped set.")] = None,
    kl: Annotated[float, typer.Option("--kl", help="Nats a reply that decoding may be from the model's own.")] = 10.0,
    temperature: Annotated[
        list[float] | None, typer.Option(help="To try (repeatable); 0 is greedy.", show_default="1, .85, .7, .5, 0")
    ] = None,
    top_p: Annotated[list[float] | None, typer.Option(help="To try (repeatable).", show_default="1, .95, .8")] = None,
    top_k: Annotated[list[int] | None, typer.Option(help="To try (repeatable); 0: all.", show_default="0, 20")] = None,
    mask: Annotated[list[str] | None, typer.Option(help="A word to try to do without (repeatable).")] = None,
    samples: Annotated[int, typer.Option("-n", "--samples", min=1, help="Replies to each prompt.")] = 1,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest reply.", show_default="96")] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling and of the halves.", show_default="0")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Use only the first prompts.")] = 200,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.", show_default="RUN/decoding")] = None,
    as_json: Json = False,
) -> None:
    """Search temperature, top-p, top-k and masked words for reward under a KL limit on one half of held-out prompts,
    report on the other half, and write a generation_config.json."""
    from rlaif.commands import tune_decoding as commands

    options = commands.Options(
        run=run,
        model=model,
        reward=reward,
        prompts=prompts,
        kl=kl,
        temperatures=temperature or commands.TEMPERATURES,
        top_p=top_p or commands.TOP_P,
        top_k=top_k or commands.TOP_K,
        masks=mask or [],
        samples=samples,
        max_tokens=max_tokens,
        limit=limit,
        seed=seed,
        out=out,
    )
    search = commands.search_of(options)
    found = commands.run(search, Terminal())
    say(found.model_dump(), commands.describe(found, search.out), as_json)
