"""How two processes take turns, update by update: `ppo_against_trl.py` holds one of them while the other computes.

A process that is measured says on its standard output, a line of JSON at the start of each update, what the last one
took, and waits there for a line on its standard input. Standard library only: TRL's environment has no rlaif.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = tuple[list[int], list[int]]  # token ids of a prompt and of its completion, neither padded


class Spent(NamedTuple):
    """Seconds by the clock, and of this process's user and system time."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Spent:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.perf_counter(), usage.ru_utime + usage.ru_stime)

    def since(self, begun: Spent) -> Spent:
        return Spent(self.wall - begun.wall, self.cpu - begun.cpu)


def peak_memory() -> float:
    """The largest resident memory of this process so far, MiB (Linux). `ru_maxrss` would be at least what the process
    that started this one had."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


class Turn:
    """The measured process's side."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print does not get between the reports
        self._begun: Spent | None = None
        self._rollout = Spent(0.0, 0.0)
        self._rows: list[Row] = []

    def start(self) -> None:
        """An update ends and the next one begins, once it is this process's turn."""
        report: dict[str, Any] = {"peak": peak_memory()}
        if self._begun is not None:
            report |= {"total": Spent.now().since(self._begun), "rollout": self._rollout, "rows": self._rows}
        print(json.dumps(report), file=self._out, flush=True)
        if not sys.stdin.readline():
            sys.exit()
        self._begun, self._rollout, self._rows = Spent.now(), Spent(0.0, 0.0), []

    def sampling(self, call: Callable[[], Any]) -> Any:
        """Run a part of the sampling, and count its time."""
        begun = Spent.now()
        result = call()
        more = Spent.now().since(begun)
        self._rollout = Spent(self._rollout.wall + more.wall, self._rollout.cpu + more.cpu)
        return result

    def sampled(self, rows: list[Row]) -> None:
        """What this update sampled."""
        self._rows = rows


class Measured(NamedTuple):
    """An update. peak: the process's largest resident memory so far, MiB."""

    total: Spent
    rollout: Spent
    rows: list[Row]
    peak: float

    @property
    def learner(self) -> Spent:
        """All that is not sampling: scores, log-probabilities, values and optimiser steps."""
        return self.total.since(self.rollout)


class Peer:
    """The parent's side: a process that waits at the start of its next update."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.loaded: float = self._report()["peak"]  # MiB, before the first update

    def update(self) -> Measured:
        """Let it do one update."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        given = self._report()
        return Measured(Spent(*given["total"]), Spent(*given["rollout"]), given["rows"], given["peak"])

    def close(self) -> None:
        """End it where it stands."""
        self._process.kill()
        self._process.communicate()

    def _report(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(line)
