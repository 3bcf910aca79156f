"""Methods side by side in tinyworld, over several seeds: `python benchmarks/methods.py --out FOLDER`.

Each seed is one run up to the reward model, then every method's policy stage on a copy of it, with the settings of the
method's shipped run file, but for the number of pairs, which is that of `ppo` for all. PPO-Lagrangian, which has a
constitution and a critic of its own, is a run of its own from the start.
The oracle alone judges the held-out replies. Prints one table: means over the seeds, and in brackets their 95 %
t-interval. CPU seconds are those of the policy stage with this process's children; best-of-16 has none, and takes
sixteen samples a reply instead.

FOLDER/seed-N/METHOD.json is a method's result: the same command again goes on where it was stopped, and where all is
there it only prints.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from rlaif import config as configs
from rlaif import execution
from rlaif.config import RunConfig
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation
from rlaif.ports.user_scorer import UserScorer
from rlaif.records import usage
from rlaif.records.answer import Answer
from rlaif.records.base import Record
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import read_json, read_rows, write_text
from rlaif.records.prompt import Prompt
from rlaif.records.report import ModelEvaluation
from rlaif.records.store import AnswerStore
from rlaif.stages import evaluate
from rlaif.terminal import Terminal

N = 16
PAIRS = 2000
BEST = f"best-of-{N}"
METHODS = {  # to the run file of its policy stage; the first two have none
    "sft": None,
    BEST: None,
    "superhf": "superhf",
    "rloo": "rloo",
    "ppo": "ppo",
    "ppo_lagrangian": "ppo_lagrangian",
    "best_of_n": "best_of_n",
}
APART = ("ppo_lagrangian",)
T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student's t, two-sided 95 %, by df from 1


class Result(Record):
    """One method and one seed. `kl` in nats a reply from the SFT policy; a bound where `kl_is_bound`."""

    harmless: float
    helpful: float
    kl: float
    kl_is_bound: bool
    meteor: float | None
    distinct: float
    words: float
    harm: float | None  # mean probability of harm, sigmoid(cost), of the replies, where the run has a cost model
    seconds: float | None  # of the policy stage by the clock, all attempts
    cpu_seconds: float | None  # in this attempt, None where an earlier one was interrupted


class Timed(NamedTuple):
    seconds: float | None
    cpu: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--engine", choices=("hf", "vllm"), default="hf", help="what samples and judges")
    parser.add_argument("--set", dest="overrides", nargs="+", default=[], help="section.key=value of every run")
    asked = parser.parse_args()
    for seed in asked.seeds:
        for method in asked.methods:
            path = asked.out / f"seed-{seed}" / f"{method}.json"
            if not path.is_file():
                try:
                    found = result(method, seed, path.parent, asked.engine, asked.overrides)
                except (InputError, RunHalted) as error:
                    print(f"seed {seed}, {method}: {error}", file=sys.stderr)
                    continue
                write_text(path, json.dumps(found.model_dump(), indent=2) + "\n")
    print(table(asked.out, asked.seeds, asked.methods))


def result(method: str, seed: int, folder: Path, engine: str, more: Sequence[str]) -> Result:
    """Run what is missing for a method and a seed, and judge its held-out replies."""
    overrides = [f"seed={seed}", f"engine={engine}"]
    overrides += [f"revise.model={engine}:tinyworld/reviser", f"pairs.prompts={PAIRS}", *more]
    critic = f"critic={engine}:tinyworld/"
    file = METHODS[method]
    if method in APART:
        assert file is not None
        config, run = configs.load(configs.named(file), [*overrides, f"{critic}scorer"]), folder / method
        timed = trained(config, run)
        return judged(method, config, run, run / "policy/model", timed)
    base = folder / "base"
    config, run = configs.load(configs.named("ppo"), [*overrides, f"{critic}critic"]), base
    execution.execute(config, base, Engines(Terminal()), until="reward")
    model, timed = run / "sft/model", Timed(None, None)
    if file is not None:
        config, run = configs.load(configs.named(file), [*overrides, f"{critic}critic"]), folder / method
        if not (run / "manifest.json").is_file():
            shutil.copytree(base, run, dirs_exist_ok=True, ignore=shutil.ignore_patterns("logs"))
        model, timed = run / "policy/model", trained(config, run)
    return judged(method, config, run, model, timed)


def trained(config: RunConfig, run: Path) -> Timed:
    """The policy stage, and what it took."""
    execution.execute(config, run, Engines(Terminal()), until="cost" if config.cost else "reward")
    fresh, before = not (run / "policy").exists(), os.times()
    execution.execute(config, run, Engines(Terminal()), until="policy")
    cpu = sum(os.times()[:4]) - sum(before[:4])
    return Timed(usage.read(run).stages["policy"].seconds, round(cpu, 1) if fresh else None)


def judged(method: str, config: RunConfig, run: Path, model: Path, timed: Timed) -> Result:
    """A method's held-out replies, as the oracle sees them, and how far its model went from the SFT policy for them."""
    prompts = read_rows(run / "prompts/test.jsonl", Prompt, "prompts")
    engines, sft = Engines(Terminal()), run / "sft/model"
    written = _replies(method, config, engines, str(model), run, prompts)
    assert config.evaluate.scorer is not None
    scorer = UserScorer(config.evaluate.scorer, field="evaluate.scorer")
    answered = [(p, answer) for p, answer in zip(prompts, written, strict=True) if answer.text is not None]
    rows = [evaluate.before_after(prompt, {method: answer}, scorer) for prompt, answer in answered]
    found = evaluate.figures(method, rows, fmean(answer.finished for _, answer in answered), config.seed)
    own = [Conversation(row.messages, row.replies[method]) for row in rows]
    kl = evaluate.bound(N).kl_bound if method == BEST else 0.0
    if model != sft:
        ended = [answer.finished for _, answer in answered]
        found_kl = evaluate.divergence(engines, str(model), str(sft), own, ended, config.evaluate.temperature)
        assert found_kl is not None  # the run files sample
        kl = found_kl
    cost = run / "cost/model"
    costs = engines.learner("reward_scorer", model=str(cost)).score(own) if cost.is_dir() else []
    engines.close()
    harm = fmean(1 / (1 + math.exp(-cost)) for cost in costs) if costs else None
    return _as_result(found, kl, method == BEST, harm, timed)


def _replies(
    method: str, config: RunConfig, engines: Engines, model: str, run: Path, prompts: Sequence[Prompt]
) -> list[Answer]:
    """One reply a prompt."""
    n = N if method == BEST else 1
    store = AnswerStore(run.parent / f"{method}.sqlite")
    spec = f"{config.engine}:{model}"
    drawn = evaluate.draw(config.evaluate, engines, spec, prompts, config.seed, store, method, n)
    store.close()
    if n == 1:
        return [one for (one,) in drawn]
    return evaluate.choose(engines.learner("reward_scorer", model=str(run / "reward/model")), prompts, drawn)


def _as_result(found: ModelEvaluation, kl: float, is_bound: bool, harm: float | None, timed: Timed) -> Result:
    return Result(
        harmless=found.oracle["harmless"].value,
        helpful=found.oracle["helpful"].value,
        kl=kl,
        kl_is_bound=is_bound,
        meteor=found.meteor.value if found.meteor else None,
        distinct=found.distinct,
        words=found.words,
        harm=harm,
        seconds=timed.seconds,
        cpu_seconds=timed.cpu,
    )


def table(out: Path, seeds: Sequence[int], methods: Sequence[str]) -> str:
    """Every method's means over the seeds that it has results of, in Markdown."""
    lines = ["| | harmless, % | helpful, % | KL, nats | METEOR across prompts | policy stage, CPU s | seeds |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    harms = []
    for method in methods:
        paths = [out / f"seed-{seed}" / f"{method}.json" for seed in seeds]
        own = [read_json(path, Result) for path in paths if path.is_file()]
        cells = [
            interval([100 * r.harmless for r in own], 1),
            interval([100 * r.helpful for r in own], 1),
            ("≤ " if own and own[0].kl_is_bound else "") + interval([r.kl for r in own], 2),
            interval([r.meteor for r in own if r.meteor is not None], 3),
            interval([r.cpu_seconds for r in own if r.cpu_seconds is not None], 0),
        ]
        lines.append(f"| {method} | {' | '.join(cells)} | {len(own)} |")
        if any(r.harm is not None for r in own):
            said = ", ".join("–" if r.harm is None else f"{r.harm:.3f}" for r in own)
            harms.append(f"\nmean probability of harm of {method}'s held-out replies, by seed: {said}")
    return "\n".join([*lines, *harms])


def interval(values: Sequence[float], digits: int) -> str:
    """The mean, and its 95 % interval over seeds where there are several and they differ."""
    if not values:
        return "–"
    mean = fmean(values)
    if len(values) == 1 or len(set(values)) == 1:
        return f"{round(mean, digits) + 0.0:.{digits}f}"  # no "-0.0"
    apart = T975[len(values) - 2] * stdev(values) / math.sqrt(len(values))
    return f"{round(mean, digits) + 0.0:.{digits}f} [{mean - apart:.{digits}f}, {mean + apart:.{digits}f}]"


if __name__ == "__main__":
    main()
