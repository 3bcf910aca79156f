"""The commands that make and use labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import SOURCE_HELP, Fresh, Json, Limit, OutFolder, Sets, say
from rlaif.cli.run import run_until
from rlaif.records.errors import InputError
from rlaif.terminal import Terminal

app = typer.Typer()


@app.command()
def label(
    run_file: Annotated[str | None, typer.Argument(metavar="[RUN.yaml]", help="The label stage of a run.")] = None,
    constitution: Annotated[str | None, typer.Option(help="Constitution file or shipped name.")] = None,
    pairs: Annotated[str | None, typer.Option(help="Pairs: .jsonl, .csv, .parquet, or a Hub data set.")] = None,
    critic: Annotated[list[str] | None, typer.Option(help="ENGINE:MODEL; several critics vote (repeatable).")] = None,
    escalate: Annotated[str | None, typer.Option(help="ENGINE:MODEL that decides what stays unsure.")] = None,
    mode: Annotated[str | None, typer.Option(help="auto, logprob, cot, votes or score.")] = None,
    source: Annotated[list[str] | None, typer.Option(help=SOURCE_HELP)] = None,
    canaries: Annotated[float | None, typer.Option(help="Share of pairs with a canary beside them.")] = None,
    price: Annotated[str | None, typer.Option(help="US dollars a million tokens, prompt/reply: 0.15/0.60.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="US dollars that may be spent in all.")] = None,
    max_failure_rate: Annotated[float | None, typer.Option(help="Stop where more judgements fail.")] = None,
    seed: Annotated[int, typer.Option(help="Of sampled principles, canaries and tournaments.")] = 0,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.")] = None,
    fresh: Fresh = False,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Label pairs by a critic under a constitution: of a run, or of any pairs file with --constitution, --pairs,
    --critic and --out. Then --set takes the keys of the label section: --set abstain=[0.45,0.55]."""
    from rlaif.commands import labels as commands

    if run_file is not None:
        return run_until(run_file, "label", out, fresh, sets, as_json)
    if constitution is None or pairs is None or not critic or out is None:
        fix = "give a RUN.yaml, or all of --constitution, --pairs, --critic and --out"
        raise InputError("what to label is not said", fix=fix)
    options = {
        "escalate": escalate,
        "mode": mode,
        "sources": source or None,
        "canaries": canaries,
        "max_failure_rate": max_failure_rate,
    }
    summary = commands.label_pairs(
        commands.label_config(critic, options, sets or []),
        constitution,
        pairs,
        critic[0],
        limit,
        out,
        Terminal(),
        seed=seed,
        price=price,
        max_cost=max_cost,
        fresh=fresh,
    )
    text = f"dataset: {out / 'dataset'}\njudgements: {out / 'judgements.jsonl'}\n"
    say(summary, text + f"next: rlaif export {out} --format unpaired --out DIR, rlaif why LABEL_ID --in {out}", as_json)


@app.command()
def relabel(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `rlaif label` wrote.")],
    constitution: Annotated[str | None, typer.Option(help="Other weights of the same principles.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write there instead of into DIR.")] = None,
    source: Annotated[list[str] | None, typer.Option(help=SOURCE_HELP)] = None,
    fit_temperature: Annotated[bool, typer.Option(help="Use the temperature that suits known choices best.")] = False,
    gold: Annotated[str | None, typer.Option(help="Pairs with known choices to fit on, if DIR holds none.")] = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Compute labels again from stored judgements, without asking anything: --set temperature=1.4,
    --set abstain=[0.45,0.55], --set clamp=null, other sources, or a constitution with other weights."""
    from rlaif.commands import labels as commands

    summary = commands.relabel(
        *(folder, out, constitution, sets or [], Terminal()), sources=source or [], fit=fit_temperature, gold=gold
    )
    say(summary, f"dataset: {summary['dataset']}", as_json)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `rlaif label` wrote.")],
    out: OutFolder,
    kind: Annotated[str, typer.Option("--format", help="preference, unpaired, sft, prompts or implicit.")],
    min_margin: Annotated[float, typer.Option(min=0, max=1, help="Least P(chosen) - P(rejected).")] = 0.0,
    min_weight: Annotated[float, typer.Option(min=0, max=1, help="Least weight of a label.")] = 0.0,
    consistent_only: Annotated[bool, typer.Option(help="Not where swapping changed the winner.")] = False,
    axis: Annotated[str | None, typer.Option(help="Labels of this axis instead of the overall ones.")] = None,
    as_json: Json = False,
) -> None:
    """Write labels as a data set of another shape, as TRL's trainers read it: parquet, splits train and test."""
    from rlaif.commands import labels as commands
    from rlaif.records.export import Keep

    keep = Keep(min_margin, min_weight, consistent_only)
    summary = commands.export(folder, out, kind, keep, axis, Terminal())
    say(summary, f"dataset: {out}", as_json)


@app.command()
def why(
    label_id: Annotated[str, typer.Argument(metavar="LABEL_ID", help="The id of a pair, as in labels.jsonl.")],
    folder: Annotated[Path, typer.Option("--in", metavar="DIR", help="The folder of labels.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Print every judgement behind a label, with the exact prompt that the critic read."""
    from rlaif.commands import provenance

    found = provenance.why(folder, label_id)
    say(found, provenance.text(found), as_json)


@app.command()
def reward(
    run_file: Annotated[str | None, typer.Argument(metavar="[RUN.yaml]", help="The reward stage of a run.")] = None,
    labels: Annotated[Path | None, typer.Option(help="labels.jsonl that `rlaif label` wrote.")] = None,
    pairs: Annotated[str | None, typer.Option(help="Pairs whose choice is in the data (human labels).")] = None,
    backbone: Annotated[str | None, typer.Option(help="Model folder or Hub name to start from.")] = None,
    from_scratch: Annotated[bool, typer.Option(help="The backbone's shape with fresh weights.")] = False,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.")] = None,
    fresh: Fresh = False,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Train a reward model: of a run, or on any labels or chosen/rejected pairs. Without a run, --set takes the keys of
    the reward section: --set epochs=2."""
    from rlaif.commands import reward as commands

    if run_file is not None:
        return run_until(run_file, "reward", out, fresh, sets, as_json)
    if (labels is None) == (pairs is None) or backbone is None or out is None:
        fix = "give a RUN.yaml, or --backbone, --out and one of --labels and --pairs"
        raise InputError("what to train on is not said", fix=fix)
    config = commands.config_of(backbone, from_scratch, sets or [])
    if (summary := commands.train(config, labels, pairs, limit, out, Terminal())) is not None:
        say(summary, f"model: {out / 'model'}", as_json)


@app.command("reward-credit")
def reward_credit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A reward model, such as runs/NAME/reward/model.")],
    pairs: Annotated[str, typer.Argument(metavar="PAIRS", help="Pairs: .jsonl, .csv, .parquet, or a Hub data set.")],
    count: Annotated[int, typer.Option("-n", min=1, help="How many pairs, from the first.")] = 5,
    as_json: Json = False,
) -> None:
    """Print where in a reply a reward model's score comes from: what each token adds to it."""
    from rlaif.commands import credit

    found = credit.credits(model, pairs, count, Terminal())
    say([own._asdict() for own in found], credit.describe(found), as_json)
