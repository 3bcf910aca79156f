"""Policy training on tiny models in a process of its own, which kills itself at a point that a test chose."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from rlaif.engines.learner.policy import HfPolicy
from rlaif.engines.learner.reward import HfReward
from rlaif.engines.rollout.hf import HfRollout  # noqa: F401  # loaded before processes part
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Optimisation
from rlaif.ports.reporter import Silent
from rlaif.records import constitution as constitutions
from rlaif.records.files import write_rows
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage, Training
from rlaif.stages import policy
from tests.tiny import tiny_model

LINEAGE = Lineage("config", {"parent": "digest"})
ALGORITHMS: dict[str, dict[str, Any]] = {
    "ppo": {"minibatches": 2, "epochs": 2},
    "rloo": {"group_size": 2, "minibatches": 2, "epochs": 2},
    "superhf": {"group_size": 4, "minibatches": 2},
    "ppo_lagrangian": {"minibatches": 2, "epochs": 1, "multiplier_rate": 1.0, "multiplier_gain": 0.5},
}
FILES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "open")  # audit events


class Kill(NamedTuple):
    """Before the optimiser step, or the operation on files of the checkpoints, of this number; or when half of the
    learner's state is written, at the save of this number. All are counted from 1, in each process anew."""

    at: Literal["step", "file", "half"]
    number: int


class Heard(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def world(folder: Path) -> Path:
    """Prompts, a policy and a scalar model that stands for reward and cost; the folder."""
    start = str(tiny_model(folder / "start", seed=1))
    HfReward(start, optimisation=Optimisation.of(Training(), 0), seed=0).save(folder / "scalar")
    rows = [Prompt(id=str(i), messages=[Message(role="user", content=f"question {i}?")]) for i in range(12)]
    write_rows(folder / "prompts.jsonl", LINEAGE.header("prompts"), rows)
    return folder


def inputs(folder: Path, out: Path) -> policy.Inputs:
    return policy.Inputs(
        prompts=folder / "prompts.jsonl",
        heldout=folder / "prompts.jsonl",
        model=str(folder / "start"),
        reward=str(folder / "scalar"),
        cost=str(folder / "scalar"),
        constitution=constitutions.load("hhh"),
        critic="scripted:tests.judges:deaf",
        seed=3,
        out=out,
        lineage=LINEAGE,
    )


def settings(algorithm: str = "ppo", **changes: Any) -> policy.Config:
    base = {"engine": "hf", "updates": 4, "batch_size": 8, "max_tokens": 6, "learning_rate": 1e-2, "warmup_steps": 0}
    own = {"algorithm": algorithm, "settings": ALGORITHMS[algorithm], "checkpoint_every": 1}
    return policy.Config.model_validate({**base, **own, **changes})


def ends_with(folder: Path, out: Path, algorithm: str, kill: Kill | None) -> int | None:
    """Train in a fresh process; its exit code, -9 where it was killed."""
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload([__name__])
    process = started.Process(target=_train, args=(folder, out, algorithm, kill))
    process.start()
    process.join()
    return process.exitcode


def _train(folder: Path, out: Path, algorithm: str, kill: Kill | None) -> None:
    torch.set_num_threads(1)
    if kill is not None:
        {"step": _kill_before_step, "file": _kill_before_operation, "half": _kill_within_save}[kill.at](
            _countdown(kill.number), out / "checkpoint"
        )
    policy.run(settings(algorithm), Engines(), inputs(folder, out))


def _countdown(number: int) -> Callable[[], bool]:
    left = number

    def now() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    return now


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_before_step(now: Callable[[], bool], _: Path) -> None:
    step = HfPolicy.step

    def dying(self: HfPolicy, *arguments: Any) -> dict[str, float]:
        if now():
            _die()
        return step(self, *arguments)

    HfPolicy.step = dying  # type: ignore[assignment, method-assign]


def _kill_before_operation(now: Callable[[], bool], checkpoint: Path) -> None:
    def dying(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FILES and str(checkpoint) in str(arguments[0]) and now():
            _die()

    sys.addaudithook(dying)


def _kill_within_save(now: Callable[[], bool], _: Path) -> None:
    save = torch.save

    def dying(state: Any, file: Path) -> None:
        save(state, file)
        if now():
            os.truncate(file, file.stat().st_size // 2)
            _die()

    torch.save = dying  # type: ignore[assignment]
