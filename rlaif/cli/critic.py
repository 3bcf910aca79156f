"""`rlaif critic`: measure a critic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Critic, Json, Limit, say
from rlaif.cli.overview import Whole
from rlaif.terminal import Terminal

app = typer.Typer(cls=Whole, help="Measure a critic.", no_args_is_help=True)


@app.command("test")
def critic_test(
    critic: Annotated[list[str], typer.Option(help="ENGINE:MODEL (repeatable: several in one table).")],
    data: Annotated[list[str], typer.Option(help="Pairs with a known choice, of any shape (repeatable).")],
    constitution: Annotated[str, typer.Option(help="What the critic is asked.")] = "hhh",
    mode: Annotated[str | None, typer.Option(help="auto, logprob, cot, votes or score.")] = None,
    price: Annotated[str | None, typer.Option(help="US dollars a million tokens, prompt/reply: 0.15/0.60.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="US dollars that all critics may spend in all.")] = None,
    max_failure_rate: Annotated[float | None, typer.Option(help="Stop a critic where more judgements fail.")] = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep agreement.json, judgements and labels here.")] = None,
    as_json: Json = False,
) -> None:
    """Measure critics against known choices: accuracy, swap consistency, calibration, biases; beside trivial rules.
    Exit code 3 where one of several critics could not be measured."""
    from rlaif.commands import critic as commands
    from rlaif.commands import critic_table
    from rlaif.commands.labels import label_config

    config = label_config([], {"mode": mode, "max_failure_rate": max_failure_rate}, [])
    spend = commands.Spend(price, max_cost)
    result = commands.test(critic, data, constitution, config, limit, out, Terminal(), spend)
    kept = "" if out is None else f"kept: {out / 'agreement.json'}; judgements and labels in {out}/CRITIC\n"
    text = f"{critic_table.describe(result)}\n\n{kept}{critic_table.next_command(result, constitution)}"
    say(result.model_dump(), text, as_json)
    if any(m.reason is not None for m in result.critics):
        raise typer.Exit(3)


@app.command("attack")
def critic_attack(
    critic: Critic,
    pairs: Annotated[str | None, typer.Option(help="Pairs to attack.", show_default="a small shipped set")] = None,
    constitution: Annotated[str, typer.Option(help="What the critic is asked.")] = "hhh",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Attacks at most, spread by a seed.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep answers, attack.jsonl and attack.json here.")] = None,
    as_json: Json = False,
) -> None:
    """How often texts that talk to the judge make a losing response win, beside harmless texts of the same length."""
    from rlaif.commands import attack

    summary = attack.run(critic, pairs, constitution, limit, out, Terminal())
    say(summary.model_dump(), attack.describe(summary), as_json)
