"""The command line: arguments in, one stage or pipeline call, one answer out.

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 a defect of rlaif, 2 bad input,
3 stopped on purpose (too many failures, the sync canary, NaN), 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
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
    critic: Annotated[str | None, typer.Option(help="ENGINE:MODEL, for example vllm:tinyworld/critic.")] = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to.")] = None,
    fresh: Fresh = False,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Label pairs by a critic under a constitution: of a run, or of any pairs file with --constitution, --pairs,
    --critic and --out."""
    from rlaif import standalone

    if run_file is not None:
        return _run(run_file, "label", out, fresh, sets, as_json)
    if constitution is None or pairs is None or critic is None or out is None:
        fix = "give a RUN.yaml, or all of --constitution, --pairs, --critic and --out"
        raise InputError("what to label is not said", fix=fix)
    summary = standalone.label_pairs(constitution, pairs, critic, limit, out, Terminal(), fresh=fresh)
    text = f"dataset: {out / 'dataset'}\njudgements: {out / 'judgements.jsonl'}\n"
    say(summary, text + f"next: rlaif reward --labels {out / 'labels.jsonl'} --backbone MODEL --out DIR", as_json)


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
    """Rebuild the shipped tiny models from a seed (two cores: about half an hour), and print their held-out table."""
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
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on where this stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def _fail(message: str, code: int) -> None:
    sys.stderr.write(clean(f"error: {message}") + "\n")
    raise SystemExit(code)
