"""rlaif's policy stage as `ppo_against_trl.py` starts it, with a file of settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.turns import Turn
from rlaif.ports.chat import Sampling
from rlaif.ports.engines import Engines
from rlaif.ports.rollout import Rollout, RolloutEngine, RolloutRequest
from rlaif.records import constitution
from rlaif.records.settings import Lineage
from rlaif.stages import policy


class WatchedRollout:
    """A rollout engine whose every sync is the start of an update."""

    def __init__(self, engine: RolloutEngine, turn: Turn) -> None:
        self.name = engine.name
        self.engine, self._turn = engine, turn

    def sync(self, weights: Iterable[Any]) -> None:
        self._turn.start()
        self._turn.sampling(lambda: self.engine.sync(weights))

    def rollout(self, requests: Sequence[RolloutRequest], sampling: Sampling) -> list[Rollout]:
        drawn: list[Rollout] = self._turn.sampling(lambda: self.engine.rollout(requests, sampling))
        self._turn.sampled([(asked.prompt_ids, own.token_ids) for asked, own in zip(requests, drawn, strict=True)])
        return drawn

    def close(self) -> None:
        self.engine.close()


class WatchedEngines(Engines):
    """Engines whose rollouts are watched, and whose learners keep their rate."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn

    def learner(self, kind: str, **options: Any) -> Any:
        if "optimisation" in options:
            options["optimisation"] = options["optimisation"]._replace(total_steps=0)
        return super().learner(kind, **options)

    def rollout(self, name: str, model: str, **options: Any) -> RolloutEngine:
        return WatchedRollout(super().rollout(name, model, **options), self._turn)

    def close_rollout(self, engine: RolloutEngine) -> None:
        super().close_rollout(engine.engine if isinstance(engine, WatchedRollout) else engine)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    engines = WatchedEngines(Turn())
    engines.use_threads(given["threads"])
    names = ("updates", "batch_size", "temperature", "max_tokens", "learning_rate", "engine", "value_network")
    ppo = ("epochs", "minibatches", "kl_coefficient", "missing_eos_penalty")
    config = policy.Config(
        **{name: given[name] for name in names},
        value_learning_rate=given["learning_rate"],
        warmup_steps=0,
        gradient_clip=1e9,  # TRL clips none
        old_logprobs=given["old_logprobs"],
        micro_batch=given["batch_size"] // given["minibatches"],
        checkpoint_every=given["updates"],
        settings={**{name: given[name] for name in ppo}, "dual_clip": None},  # TRL knows none
    )
    inputs = policy.Inputs(
        prompts=Path(given["prompt_file"]),
        heldout=Path(given["prompt_file"]),
        model=given["model"],
        reward=given["reward"],
        cost=None,
        constitution=constitution.load("tinyworld"),
        critic="",
        seed=given["seed"],
        out=Path(given["out"]),
        lineage=Lineage("", {}),
    )
    policy.run(config, engines, inputs)


if __name__ == "__main__":
    main()
