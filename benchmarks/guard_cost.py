"""What the guard and the sync canary cost of the policy stage: `python -m benchmarks.guard_cost --run RUN`.

RUN is a finished run up to the reward model, such as `rlaif reward ppo --out RUN` leaves; its policy stage is run
anew in a folder that is removed, with the guard at its defaults and the run's own critic. The shares are of the same
process and the same updates: audits over everything, and the trainer's pass that the canary alone needs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rlaif.config import RunConfig
from rlaif.ports import guarding
from rlaif.ports.engines import Engines
from rlaif.records import constitution
from rlaif.records.guard import Guard
from rlaif.records.settings import Lineage
from rlaif.stages import policy
from rlaif.terminal import Terminal


class Clock:
    """Seconds in calls of a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds += time.perf_counter() - begun

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--updates", type=int, default=40)
    asked = parser.parse_args()
    config = RunConfig.model_validate(yaml.safe_load((asked.run / "config.resolved.yaml").read_text()))
    settings = config.policy.model_copy(update={"updates": asked.updates, "guard": Guard(), "old_logprobs": "engine"})
    audits, canary = Clock(), Clock()
    guarding.Guardian.after = audits.around(guarding.Guardian.after)  # type: ignore[method-assign]
    policy.compared = canary.around(policy.compared)
    engines = Engines(Terminal())
    if config.threads is not None:
        engines.use_threads(config.threads)
    with tempfile.TemporaryDirectory(prefix="rlaif-guard-") as out:
        inputs = policy.Inputs(
            prompts=asked.run / "prompts/train.jsonl",
            heldout=asked.run / "prompts/guard.jsonl",
            model=str(asked.run / "sft/model"),
            reward=str(asked.run / "reward/model"),
            cost=None,
            constitution=constitution.load(config.constitution),
            critic=config.critic,
            seed=config.seed,
            out=Path(out),
            lineage=Lineage("", {}),
        )
        begun = time.perf_counter()
        policy.run(settings, engines, inputs)
        total = time.perf_counter() - begun
    engines.close()
    guard = Guard()
    print(f"{asked.updates} updates in {total:.1f} s, an audit of {guard.prompts} prompts every {guard.every}")
    for name, clock, most in (("guard", audits, 0.10), ("canary", canary, 0.03)):
        share = clock.seconds / total
        print(f"{name:7} {clock.seconds:6.1f} s, {share:6.1%} of it (target: at most {most:.0%})")


if __name__ == "__main__":
    main()
