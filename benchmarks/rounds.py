"""Three rounds beside one, at equal updates and labels, in tinyworld: `python -m benchmarks.rounds --out DIR`.

Each seed is two runs of `examples/runs/ppo.yaml`: one round with all pairs and all updates, and three with a third of
both each, where the pairs of a round are drawn from the policy of the round before. The oracle alone judges the
held-out replies. Prints a row a run, and what three rounds gain, with its 95 % t-interval over the seeds.

DIR/seed-N/rounds-K.json is a result: the same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.methods import Result, interval, judged, trained
from rlaif import config as configs
from rlaif.records.files import read_json, write_text

COUNTS = (1, 3)
PAIRS, UPDATES = 2000, 60  # of all rounds together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    for seed in asked.seeds:
        for count in COUNTS:
            path = asked.out / f"seed-{seed}" / f"rounds-{count}.json"
            if not path.is_file():
                found = result(count, seed, path.parent)
                write_text(path, json.dumps(found.model_dump(), indent=2) + "\n")
    print(table(asked.out, asked.seeds))


def result(count: int, seed: int, folder: Path) -> Result:
    """Run what is missing of so many rounds, and judge the last policy's held-out replies."""
    overrides = [f"seed={seed}", "engine=hf", "critic=hf:tinyworld/critic", "revise.model=hf:tinyworld/reviser"]
    overrides += [f"rounds={count}", f"pairs.prompts={PAIRS // count}", f"policy.updates={UPDATES // count}"]
    overrides += ['audit.require=["failure_rate<=0.05"]']  # pairs of a better policy are harder to tell apart
    config, run = configs.load(configs.named("ppo"), overrides), folder / f"rounds-{count}"
    timed = trained(config, run)
    last = run if count == 1 else run / f"round-{count}"
    return judged(run.name, config, run, last / "policy/model", timed)


def table(folder: Path, seeds: list[int]) -> str:
    """In Markdown."""
    lines = [
        "| seed | rounds | harmless, % | helpful, % | KL from SFT, nats |",
        "| --- | --- | --- | --- | --- |",
    ]
    gains = []
    for seed in seeds:
        paths = [folder / f"seed-{seed}" / f"rounds-{count}.json" for count in COUNTS]
        if not all(path.is_file() for path in paths):
            continue
        one, three = (read_json(path, Result) for path in paths)
        lines += [
            f"| {seed} | {count} | {100 * x.harmless:.1f} | {100 * x.helpful:.1f} | {x.kl:.2f} |"
            for count, x in zip(COUNTS, (one, three), strict=True)
        ]
        gains.append((100 * (three.harmless - one.harmless), 100 * (three.helpful - one.helpful)))
    for name, own in zip(("harmless", "helpful"), zip(*gains, strict=True), strict=False):
        lines.append(f"\n{name}: three rounds gain {interval(own, 1)} points")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
