"""`rlaif constitution`: write and check constitution files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlaif.cli.options import Critic, Json, Limit, say
from rlaif.cli.overview import Whole
from rlaif.terminal import Terminal

app = typer.Typer(cls=Whole, help="Write and check constitution files.", no_args_is_help=True)
Mode = Annotated[str | None, typer.Option(help="auto, logprob, cot, votes or score.")]
Paraphrases = Annotated[bool, typer.Option("--paraphrases", help="Ask the principles' rewordings too.")]
Price = Annotated[str | None, typer.Option(help="US dollars a million tokens, prompt/reply: 0.15/0.60.")]
MaxCost = Annotated[float | None, typer.Option(help="US dollars that may be spent in all.")]


@app.command("lint")
def constitution_lint(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Constitution file or shipped name.")],
    as_json: Json = False,
) -> None:
    """Find what is wrong with a constitution file, without a model. Exit code 2 on errors."""
    from rlaif.critique import lint

    findings = lint.lint(file)
    say({"findings": [f.model_dump() for f in findings]}, lint.render_text(findings), as_json)
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(2)


@app.command("show")
def constitution_show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Constitution file or shipped name.")],
    principle: Annotated[str | None, typer.Option(help="Only this principle.")] = None,
    mode: Mode = None,
    paraphrases: Paraphrases = False,
    as_json: Json = False,
) -> None:
    """Print exactly what the critic reads: every principle, in both orders, on the principle's own test
    or, where it has none, on an example pair."""
    from rlaif.commands import constitution as commands
    from rlaif.commands import shown

    asked = commands.show(file, principle, mode=mode, paraphrases=paraphrases)
    text = "\n\n".join("\n".join(shown.lines(q, before=commands.example(q))) for q in asked)
    following = f"next: rlaif constitution test {file} --critic ENGINE:MODEL"
    say({"constitution": file, "prompts": [shown.record(q) for q in asked]}, f"{text}\n\n{following}", as_json)


@app.command("test")
def constitution_test(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Constitution file or shipped name.")],
    critic: Critic,
    principle: Annotated[str | None, typer.Option(help="Only the tests of this principle.")] = None,
    across: Annotated[bool, typer.Option("--across", help="Ask every principle about every test.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A test must be right in both orders.")] = False,
    mode: Mode = None,
    paraphrases: Paraphrases = False,
    price: Price = None,
    max_cost: MaxCost = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep answers and tests.json here.")] = None,
    as_json: Json = False,
) -> None:
    """Ask a critic about each principle's own tests, in both orders. Exit code 3 where one does not pass."""
    from rlaif.commands import labels, trials
    from rlaif.critique.trials import holds

    config = labels.label_config([critic], {"mode": mode, "paraphrases": paraphrases}, [])
    found = trials.run(
        *(file, critic, Terminal()),
        config=config,
        principle=principle,
        across=across,
        out=out,
        price=price,
        max_cost=max_cost,
    )
    good = holds(found, strict=strict)
    what = f"label --constitution {file} --pairs FILE --critic {critic} --out DIR"
    if not good:
        what = f"constitution show {file} --principle {next(t.principle for t in found.trials if t.outcome != 'right')}"
    say({**found.model_dump(), "holds": good}, f"{trials.describe(found)}\n\nnext: rlaif {what}", as_json)
    if not good:
        raise typer.Exit(3)


@app.command("diff")
def constitution_diff(
    a: Annotated[str, typer.Argument(metavar="A", help="The constitution as it was: file or shipped name.")],
    b: Annotated[str, typer.Argument(metavar="B", help="As it is now.")],
    critic: Annotated[str | None, typer.Option(help="ENGINE:MODEL.", show_default="that of --labels")] = None,
    pairs: Annotated[str | None, typer.Option(help="Pairs to compare on.", show_default="those of --labels")] = None,
    labels: Annotated[Path | None, typer.Option(help="Use the answers that `rlaif label` or a run left here.")] = None,
    show: Annotated[int, typer.Option(min=0, help="So many of the most changed pairs.")] = 10,
    mode: Mode = None,
    price: Price = None,
    max_cost: MaxCost = None,
    max_failure_rate: Annotated[float | None, typer.Option(help="Stop where more judgements fail.")] = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep answers and diff.json here.")] = None,
    as_json: Json = False,
) -> None:
    """What another constitution changes: in its text; with --labels or --pairs also in the labels of these pairs, and
    through which principle."""
    from rlaif.commands import changes

    found = changes.run(
        *(a, b, critic, Terminal()),
        pairs=pairs,
        labels=labels,
        limit=limit,
        out=out,
        options={"mode": mode, "max_failure_rate": max_failure_rate},
        price=price,
        max_cost=max_cost,
    )
    text = changes.describe(found, (a, b), show)
    judge = found.diff.critic or "ENGINE:MODEL"
    text += f"\n\nnext: rlaif label --constitution {b} --pairs {pairs or 'FILE'} --critic {judge} --out DIR"
    say({**found.diff.model_dump(), "asked": found.asked, "stored": found.stored}, text, as_json)


@app.command("import")
def constitution_import(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Published constitutions: .json or .yaml.")],
    out: Annotated[Path | None, typer.Option(help="Write it there; else it is printed.")] = None,
    name: Annotated[str | None, typer.Option(help="Its name.", show_default="that of the file")] = None,
    as_json: Json = False,
) -> None:
    """Make a constitution of published ones: critique and revision requests or comparison instructions of the
    Constitutional AI paper, or llm-swarm's `constitutions`."""
    from rlaif.commands import importing

    made = importing.load(files, name, out)
    Terminal().line(importing.advice(made, out))
    findings = [f.model_dump() for f in made.findings]
    place = str(out) if out else None
    data = {"out": place, "principles": made.principles, "findings": findings, "constitution": made.text}
    say(data, f"constitution: {out}" if out else made.text.rstrip("\n"), as_json)


@app.command("ablate")
def constitution_ablate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `rlaif label` wrote, or a run folder.")],
    as_json: Json = False,
) -> None:
    """What each principle does to stored labels, and which principles say the same, the opposite, or nothing."""
    from rlaif.commands import ablate as commands

    found = commands.ablate(folder)
    text = f"{commands.describe(found)}\n\nnext: rlaif labels audit {folder}"
    say(found.model_dump(), text, as_json)
