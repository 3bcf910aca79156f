"""The commands of a run: all of it, or up to one stage."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Fresh, Json, Out, RunFile, Sets, say
from rlaif.terminal import Terminal

STAGE_HELP = {
    "prompts": "Read the prompts to train on and the held-out ones.",
    "sample": "Sample the start model's replies.",
    "revise": "Critique and revise the sampled replies.",
    "sft": "Fine-tune the start model on the revisions.",
    "pairs": "Sample pairs of replies from the SFT policy.",
    "audit": "Audit the labels, and stop where a gate of the run file does not hold.",
    "cost": "Train a cost model of one axis, where the run file has a section for it.",
    "policy": "Train the policy against its reward: PPO and its kin.",
}

app = typer.Typer()


@app.command()
def quickstart(out: Out = None, fresh: Fresh = False, sets: Sets = None, as_json: Json = False) -> None:
    """Run the whole loop in tinyworld, a small simulated world: no GPU, no network, no key."""
    run_until("tinyworld", "report", out, fresh, sets, as_json)


@app.command()
def run(run_file: RunFile, out: Out = None, fresh: Fresh = False, sets: Sets = None, as_json: Json = False) -> None:
    """Run everything from constitution to report. The same command again resumes. `rlaif estimate` says beforehand what
    it takes."""
    run_until(run_file, "report", out, fresh, sets, as_json)


def _stage_command(name: str) -> None:
    def command(
        run_file: RunFile, out: Out = None, fresh: Fresh = False, sets: Sets = None, as_json: Json = False
    ) -> None:
        run_until(run_file, name, out, fresh, sets, as_json)

    app.command(name, help=f"{STAGE_HELP[name]} What it needs and is not finished runs first.")(command)


for _name in STAGE_HELP:
    _stage_command(_name)


@app.command()
def preview(
    run_file: RunFile,
    count: Annotated[int, typer.Option("-n", min=1, help="How many pairs.")] = 3,
    out: Out = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Print exactly what critic and policy will read for the first pairs of a run. Loads no model, spends nothing."""
    from rlaif import config as configs
    from rlaif.commands import preview as commands

    config = configs.load(configs.named(run_file), sets, algorithms=False)
    made = commands.preview(config, out or Path("runs") / config.name, count)
    say(commands.data(made), f"{commands.text(made)}\nnext: rlaif estimate {run_file}", as_json)


@app.command()
def estimate(
    run_file: RunFile,
    price: Annotated[str | None, typer.Option(help="US dollars a million tokens, prompt/reply: 0.15/0.60.")] = None,
    measure: Annotated[int | None, typer.Option(min=2, help="Run so many prompts first, to learn more.")] = None,
    out: Out = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Calls, tokens, money, hours and disk of a run, low and high; after the run, beside what it took. Loads no model
    and spends nothing, but for --measure."""
    from rlaif import config as configs
    from rlaif.commands.estimate import command, page

    config = configs.load(configs.named(run_file), sets)
    result = command.estimate(config, out or Path("runs") / config.name, price, measure, Terminal())
    following = "" if result.before else f"\nnext: rlaif run {run_file}"
    say(page.data(result), page.text(result) + following, as_json)


def run_until(run_file: str, until: str, out: Path | None, fresh: bool, sets: list[str] | None, as_json: bool) -> None:
    from rlaif import config as configs
    from rlaif import execution, pipeline
    from rlaif.commands import summary
    from rlaif.ports.engines import Engines

    engines = Engines(Terminal())
    with engines.processes as processes:
        config = configs.load(configs.named(run_file), sets)
        folder = out or Path("runs") / config.name
        if config.simulation:
            note = "tinyworld is a simulation: a small made-up language with an exact oracle, not a language model"
            engines.reporter.line(note)
        timings = execution.execute(config, folder, engines, until=until, fresh=fresh)
        if processes.rank > 0:
            return
    if until == "report":
        following = summary.following(folder, config.constitution, config.critic)
        say(summary.data(folder, timings), f"{summary.table(folder)}\n{following}", as_json)
    else:
        stages = pipeline.names_of(config)
        after = stages[stages.index(until) + 1]
        options = [
            *(word for change in sets or () for word in ("--set", change)),
            *(("--out", str(out)) if out else ()),
        ]
        text = f"{until}: {folder / until}\nnext: {shlex.join(['rlaif', after, str(run_file), *options])}"
        say({"stage": until, "folder": str(folder / until)}, text, as_json)
