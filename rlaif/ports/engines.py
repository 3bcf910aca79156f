"""The engines of one run: built on first use by name, shared between stages, closed at the end."""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path
from typing import Any

from rlaif.ports import registry
from rlaif.ports.budget import Budget
from rlaif.ports.chat import ChatModel
from rlaif.ports.processes import ALONE, Processes, launched
from rlaif.ports.reporter import Reporter, Silent
from rlaif.ports.rollout import RolloutEngine
from rlaif.ports.tracker import NoTracker, Several, Tracker


class Engines:
    """Hands out chat models by SPEC and rollout engines by name, and remembers them so that nothing loads twice."""

    def __init__(self, reporter: Reporter | None = None, budget: Budget | None = None) -> None:
        self.reporter: Reporter = reporter or Silent()
        self.budget = budget  # what engines that are billed draw on
        self.trackers: list[str] = []  # beside the metrics file
        self._chat: dict[str, ChatModel] = {}
        self._rollouts: list[RolloutEngine] = []

    @cached_property
    def processes(self) -> Processes:
        """Those that train together: this one, or all that a launcher started. Of these only the main one reports."""
        found: Processes = registry.load("processes", "accelerate")() if launched() else ALONE
        if found.rank > 0:
            self.reporter = Silent()
        return found

    def chat(self, spec: str, **options: Any) -> ChatModel:
        """The chat model of `ENGINE:MODEL`."""
        parsed = registry.parse_spec(spec)
        key = f"{parsed}{sorted(options.items())}"
        if key not in self._chat:
            self.reporter.line(f"loading {parsed}")
            engine = registry.load("chat", parsed.engine)
            if "budget" in inspect.signature(engine).parameters:
                options["budget"] = self.budget
            self._chat[key] = engine(parsed.model, **options)
        return self._chat[key]

    def use_threads(self, count: int) -> None:
        """CPU threads that every engine of this machine computes with."""
        registry.load("threads", "torch")(count)

    def rollout(self, name: str, model: str, **options: Any) -> RolloutEngine:
        """A rollout engine that starts from a model folder; `auto` is vllm where it is installed, else hf."""
        if name == "auto":
            name = "vllm" if registry.installed("vllm") else "hf"
        engine: RolloutEngine = registry.load("rollout", name)(model, **options)
        self._rollouts.append(engine)
        return engine

    def close_rollout(self, engine: RolloutEngine) -> None:
        """Close a rollout engine before the end of the run."""
        engine.close()
        self._rollouts.remove(engine)

    def learner(self, kind: str, **options: Any) -> Any:
        """A learner by name (`sft`, `reward`, `policy`) or a frozen scorer (`reward_scorer`, `likelihood`)."""
        learner = registry.load("learner", kind)
        if "processes" in inspect.signature(learner).parameters:
            options["processes"] = self.processes
        return learner(**options)

    def tracker(self, folder: Path, keep_until: int = 0) -> Tracker:
        """The metrics file of a stage, with what an earlier attempt wrote after step `keep_until` removed; and where
        else `trackers` says. The main process writes it."""
        if self.processes.rank > 0:
            return NoTracker()
        return Several([registry.load("tracker", n)(folder, keep_until=keep_until) for n in ("jsonl", *self.trackers)])

    def release(self, spec: str) -> None:
        """Close one chat model, to give its memory back before the next one loads."""
        parsed = str(registry.parse_spec(spec))
        for key in [k for k in self._chat if k.startswith(f"{parsed}[")]:
            self._chat.pop(key).close()

    def close(self) -> None:
        for chat in self._chat.values():
            chat.close()
        for rollout in self._rollouts:
            rollout.close()
        self._chat.clear()
        self._rollouts.clear()
