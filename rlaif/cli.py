"""The command line: arguments in, one stage or pipeline call, one answer out.

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 a defect of rlaif, 2 bad input,
3 stopped on purpose (too many failures, the sync canary, NaN), 130 interrupted.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rlaif import __version__
from rlaif.records.errors import InputError, RunHalted
from rlaif.terminal import Terminal, clean

STAGE_HELP = {
    "prompts": "Read the prompts to train on and the held-out ones.",
    "sample": "Sample the start model's replies.",
    "revise": "Critique and revise the sampled replies.",
    "sft": "Fine-tune the start model on the revisions.",
    "pairs": "Sample pairs of replies from the SFT policy.",
    "policy": "Train the policy against the reward model (PPO).",
    "evaluate": "Judge start, SFT and final policy on held-out prompts.",
    "report": "Write the report: one JSON, one page.",
}

app = typer.Typer(
    name="rlaif",
    help="Align language models with AI feedback: one constitution file to an aligned policy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
constitution_app = typer.Typer(help="Write and check constitution files.", no_args_is_help=True)
critic_app = typer.Typer(help="Measure a critic.", no_args_is_help=True)
tinyworld_app = typer.Typer(help="The embedded simulated world.", no_args_is_help=True)
app.add_typer(constitution_app, name="constitution")
app.add_typer(critic_app, name="critic")
app.add_typer(tinyworld_app, name="tinyworld")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder.", show_default="runs/NAME")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a key: policy.updates=20 (repeatable).")]
RunFile = Annotated[str, typer.Argument(metavar="RUN.yaml", help="A run file, or the name of a shipped one.")]
Critic = Annotated[str, typer.Option("--critic", help="ENGINE:MODEL, for example vllm:tinyworld/critic.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first rows.")]
SOURCE_HELP = "KIND=FILE[@WEIGHT] that speaks too: human, labelled or self-consistency (repeatable)."
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write to.")]


def say(data: Any, text: str, as_json: bool) -> None:
    """One answer on standard output."""
    print(json.dumps(data, ensure_ascii=True) if as_json else clean(text), flush=True)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def quickstart(out: Out = None, fresh: Fresh = False, sets: Sets = None, as_json: Json = False) -> None:
    """Run the whole loop in tinyworld, a small simulated world: no GPU, no network, no key."""
    _run("tinyworld", "report", out, fresh, sets, as_json)


@app.command()
def run(run_file: RunFile, out: Out = None, fresh: Fresh = False, sets: Sets = None, as_json: Json = False) -> None:
    """Run everything from constitution to report. The same command again resumes."""
    _run(run_file, "report", out, fresh, sets, as_json)


def _stage_command(name: str) -> None:
    def command(
        run_file: RunFile, out: Out = None, fresh: Fresh = False, sets: Sets = None, as_json: Json = False
    ) -> None:
        _run(run_file, name, out, fresh, sets, as_json)

    app.command(name, help=f"{STAGE_HELP[name]} What it needs and is not finished runs first.")(command)


@app.command()
def label(
    run_file: Annotated[str | None, typer.Argument(metavar="[RUN.yaml]", help="The label stage of a run.")] = None,
    constitution: Annotated[str | None, typer.Option(help="Constitution file or shipped name.")] = None,
    pairs: Annotated[str | None, typer.Option(help="Pairs: .jsonl, .parquet, or a Hub data set.")] = None,
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
    from rlaif import standalone

    if run_file is not None:
        return _run(run_file, "label", out, fresh, sets, as_json)
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
    summary = standalone.label_pairs(
        standalone.label_config(critic, options, sets or []),
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
    from rlaif import standalone

    summary = standalone.relabel(
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
    from rlaif import standalone
    from rlaif.records.export import Keep

    keep = Keep(min_margin, min_weight, consistent_only)
    summary = standalone.export(folder, out, kind, keep, axis, Terminal())
    say(summary, f"dataset: {out}", as_json)


@app.command()
def why(
    label_id: Annotated[str, typer.Argument(metavar="LABEL_ID", help="The id of a pair, as in labels.jsonl.")],
    folder: Annotated[Path, typer.Option("--in", metavar="DIR", help="The folder of labels.")] = Path("."),
    as_json: Json = False,
) -> None:
    """Print every judgement behind a label, with the exact prompt that the critic read."""
    from rlaif import provenance

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
    from rlaif import standalone

    if run_file is not None:
        return _run(run_file, "reward", out, fresh, sets, as_json)
    if (labels is None) == (pairs is None) or backbone is None or out is None:
        fix = "give a RUN.yaml, or --backbone, --out and one of --labels and --pairs"
        raise InputError("what to train on is not said", fix=fix)
    config = standalone.reward_config(backbone, from_scratch, sets or [])
    summary = standalone.train_reward(config, labels, pairs, limit, out, Terminal())
    say(summary, f"model: {out / 'model'}", as_json)


for _name in STAGE_HELP:
    _stage_command(_name)


@critic_app.command("test")
def critic_test(
    critic: Critic,
    data: Annotated[str, typer.Option(help="Pairs with a known choice: HHH, HH-RLHF, prompt/chosen/rejected.")],
    constitution: Annotated[str, typer.Option(help="What the critic is asked.")] = "hhh",
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep judgements and labels here.")] = None,
    as_json: Json = False,
) -> None:
    """Accuracy with interval, swap consistency, calibration and position bias against known choices."""
    from rlaif import standalone

    result = standalone.test_critic(critic, data, constitution, limit, out, Terminal())
    say(result.model_dump(), standalone.describe_agreement(result), as_json)


@critic_app.command("attack")
def critic_attack(
    critic: Critic,
    pairs: Annotated[str | None, typer.Option(help="Pairs to attack.", show_default="a small shipped set")] = None,
    constitution: Annotated[str, typer.Option(help="What the critic is asked.")] = "hhh",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Attacks at most, spread by a seed.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Keep answers, attack.jsonl and attack.json here.")] = None,
    as_json: Json = False,
) -> None:
    """How often texts that talk to the judge make a losing response win, beside harmless texts of the same length."""
    from rlaif import attack

    summary = attack.run(critic, pairs, constitution, limit, out, Terminal())
    say(summary.model_dump(), attack.describe(summary), as_json)


@constitution_app.command("lint")
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


@constitution_app.command("show")
def constitution_show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Constitution file or shipped name.")],
    principle: Annotated[str | None, typer.Option(help="Only this principle.")] = None,
    as_json: Json = False,
) -> None:
    """Print exactly what the critic reads: every principle, in both orders, on the principle's own test."""
    from rlaif import standalone

    shown = standalone.show_constitution(file, principle)
    text = "\n\n".join(
        f"── {s['principle']}, order {s['order']}, {m['role']} ──\n{m['content']}" for s in shown for m in s["messages"]
    )
    say({"constitution": file, "prompts": shown}, text, as_json)


@tinyworld_app.command("train")
def tinyworld_train(
    out: OutFolder, seed: Annotated[int, typer.Option(help="Everything is derived from it.")] = 0
) -> None:
    """Rebuild the shipped tiny models from a seed (many minutes on two cores), and print their held-out table."""
    from rlaif.tinyworld.training import train

    train(out, seed)


def _run(run_file: str, until: str, out: Path | None, fresh: bool, sets: list[str] | None, as_json: bool) -> None:
    from rlaif import config as configs
    from rlaif import pipeline, summary
    from rlaif.ports.engines import Engines

    terminal = Terminal()
    config = configs.load(configs.named(run_file), sets)
    folder = out or Path("runs") / config.name
    if config.simulation:
        terminal.line("tinyworld is a simulation: a small made-up language with an exact oracle, not a language model")
    timings = pipeline.execute(config, folder, Engines(terminal), until=until, fresh=fresh)
    if until == "report":
        say(summary.data(folder, timings), summary.table(folder), as_json)
    else:
        following = pipeline.NAMES[pipeline.NAMES.index(until) + 1]
        text = f"{until}: {folder / until}\nnext: rlaif {following} {run_file}"
        say({"stage": until, "folder": str(folder / until)}, text, as_json)


# Read by native libraries when they load: threads that sleep while they wait instead of spinning (ten times faster on
# shared cores), and no chatter about memory binding among our own lines.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TORCH_CPP_LOG_LEVEL": "ERROR"}


INTERRUPTED = 130


def main() -> None:
    """Entry point of the `rlaif` command."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except InputError as error:
        _fail(str(error), 2)
    except RunHalted as error:
        _fail(f"stopped: {error}", 3)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:  # what typer makes of Ctrl-C, without a word
            raise
        _fail(f"interrupted; this goes on where it stopped: {again(sys.argv)}", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def again(arguments: Sequence[str]) -> str:
    """The command that goes on where this one stopped: the same, but never with --fresh."""
    return shlex.join(["rlaif", *(a for a in arguments[1:] if a != "--fresh")])


def _fail(message: str, code: int) -> None:
    Terminal().line(f"error: {message}" if code != INTERRUPTED else message)
    raise SystemExit(code)
