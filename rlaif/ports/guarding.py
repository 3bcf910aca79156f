"""The guard of a policy in training: audits it every so often, keeps what it finds, and says what its rules ask for.

audits.jsonl       one row an audit
exploits.jsonl     replies that the reward likes and the critic does not
audited.jsonl      the critic's labels of all others
best/HASH-UPDATE/  the policy of the best audit, an ordinary model folder, and of the best before it; HASH is of the
                   settings, so that no other training's is taken for it
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rlaif.critique import guard as rules
from rlaif.ports.algorithm import Algorithm
from rlaif.ports.auditing import Auditor
from rlaif.ports.learner import PolicyLearner
from rlaif.ports.reporter import Reporter
from rlaif.ports.rollout import RolloutEngine
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.files import atomic_folder, read_rows, write_rows
from rlaif.records.guard import Audit, Exploit, Guard, Rule, Verdict
from rlaif.records.settings import Lineage

R = TypeVar("R", Audit, Exploit, Verdict)
AUDITS, EXPLOITS, VERDICTS, BEST = "audits.jsonl", "exploits.jsonl", "audited.jsonl", "best"
OUTPUTS = [AUDITS, EXPLOITS, VERDICTS]


class Outcome(NamedTuple):
    """What an update's audit came to, if there was one: numbers for the metrics, and the rules that fired. `urgent`:
    the state is to be saved now."""

    logged: dict[str, float]
    fired: list[Rule]
    urgent: bool

    def applied(self, state: dict[str, float]) -> dict[str, float]:
        """The algorithm's state, with what the rules do to it."""
        raised = sum(rule.then == "raise_kl" for rule in self.fired)
        return {**state, "kl_coefficient": state["kl_coefficient"] * 2.0**raised} if raised else state


QUIET = Outcome({}, [], urgent=False)


def check(guard: Guard | None, constitution: Constitution, name: str, algorithm: Algorithm, settings: Any) -> None:
    """Make sure that a guard's rules can do what they say with a constitution and an algorithm.

    Raises:
        InputError: one cannot.
    """
    if guard is None:
        return
    if algorithm.SAMPLER == "reference":
        problem = f"{name} samples from the reference for ever, so that no engine holds the policy to audit"
        raise InputError(problem, fix="leave the guard out", field="policy.guard")
    known = [principle.id for principle in constitution.principles]
    for rule in guard.rules:
        if rule.principle is not None and rule.principle not in known:
            fix = f"name one of: {', '.join(known)}"
            raise InputError(
                f"the constitution has no principle {rule.principle!r}", fix=fix, field="policy.guard.rules"
            )
    if any(rule.watch == "cost" for rule in guard.rules) and "cost_values" not in algorithm.NEEDS:
        problem = f"a rule watches the cost, and {name} has none"
        raise InputError(problem, fix="use ppo_lagrangian, or leave the rule out", field="policy.guard.rules")
    raising = any(rule.then == "raise_kl" for rule in guard.rules)
    if raising and "kl_coefficient" not in algorithm.start(settings):
        problem = f"a rule raises the KL coefficient, and that of {name} is fixed"
        raise InputError(problem, fix="use ppo, or then: rollback", field="policy.guard.rules")


class Guardian:
    """Audits by the settings of `guard`.

    Args:
        folder: of the stage.
        done: update that training goes on after; later audits of an earlier attempt are forgotten.
        main: this is the process that writes.
    """

    def __init__(
        self,
        guard: Guard,
        auditor: Auditor,
        folder: Path,
        lineage: Lineage,
        done: int,
        reporter: Reporter,
        *,
        main: bool,
    ) -> None:
        self._guard = guard
        self._auditor = auditor
        self._folder = folder
        self._lineage = lineage
        self._reporter = reporter
        self._main = main
        self.audits = [row for row in _rows(folder / AUDITS, Audit, "audits") if row.update <= done]
        self._exploits = [row for row in _rows(folder / EXPLOITS, Exploit, "exploits") if row.update <= done]
        self._verdicts = [row for row in _rows(folder / VERDICTS, Verdict, "audited") if row.update <= done]

    @property
    def ended(self) -> bool:
        """Whether the last audit has ended the training with the best audited policy."""
        return bool(self.audits) and any(r.then == "rollback" for r in rules.fired(self._guard.rules, self.audits))

    @property
    def best(self) -> Audit | None:
        """The best audit so far."""
        return rules.best(self._guard.rules, self.audits)

    def kept(self, audit: Audit) -> Path:
        """Where the policy of a best audit is."""
        return self._folder / BEST / f"{self._lineage.config_hash[:12]}-{audit.update:06d}"

    def after(self, update: int, actor: RolloutEngine, learner: PolicyLearner) -> Outcome:
        """Audit the policy if that is due, write what was found, and keep the policy if it is the best so far. `actor`
        holds its weights afterwards."""
        if update % self._guard.every:
            return QUIET
        actor.sync(learner.weights())
        audit, exploits, verdicts = self._auditor.audit(update, actor, learner)
        fired, before = rules.fired(self._guard.rules, [*self.audits, audit]), self.best
        self.audits.append(audit.model_copy(update={"fired": [rule.name for rule in fired]}))
        self._exploits += exploits
        self._verdicts += verdicts
        if better := self.best is self.audits[-1]:
            self._keep(self.audits[-1], before, learner)
        if self._main:
            write_rows(self._folder / AUDITS, self._lineage.header("audits"), self.audits)
            write_rows(self._folder / EXPLOITS, self._lineage.header("exploits"), self._exploits)
            write_rows(self._folder / VERDICTS, self._lineage.header("audited"), self._verdicts)
        self._reporter.line(f"guard: update {update}: {_said(audit)}")
        for rule in fired:
            why = _why(rule, self.audits)
            self._reporter.line(f"guard: update {update}: rule {rule.name} fired: {why}: {rule.then}")
        return Outcome(_figures(audit), fired, urgent=bool(fired) or better or audit.missing is not None)

    def _keep(self, audit: Audit, before: Audit | None, learner: PolicyLearner) -> None:
        """Save the policy. The best one before it stays: a checkpoint that training goes back to may know no other. So
        do those of other settings, to which the user may go back."""
        learner.save(self.kept(audit))
        if self._main:
            wanted = {self.kept(audit), *([self.kept(before)] if before else [])}
            for folder in set((self._folder / BEST).glob(f"{self._lineage.config_hash[:12]}-*")) - wanted:
                shutil.rmtree(folder)

    def restore(self, folder: Path) -> None:
        """Make the policy of the best audit the one that training ends with.

        Raises:
            RunHalted: it is not there any more.
        """
        assert self.best is not None
        if not self.kept(self.best).is_dir():
            problem = f"the best audited policy, of update {self.best.update}, is gone: {self.kept(self.best)}"
            raise RunHalted(f"{problem}. Train again with --fresh, or without the rule")
        self._reporter.line(f"guard: ends with the policy of update {self.best.update}, the best that was audited")
        if self._main:
            with atomic_folder(folder) as temporary:
                shutil.copytree(self.kept(self.best), temporary, dirs_exist_ok=True)

    def stop(self, outcome: Outcome) -> None:
        """Stop where a rule says so, or the critic has failed too many audits. Call it when the state is saved.

        Raises:
            RunHalted: the training is to stop.
        """
        missing = rules.missing(self.audits)
        if outcome.urgent and missing >= self._guard.max_missing:
            problem = f"the last {missing} audits are missing ({self.audits[-1].missing})"
            raise RunHalted(f"{problem}; the state is saved: mend the critic, and the same command goes on from there")
        for rule in outcome.fired:
            if rule.then == "stop":
                best, last = self.best, self.audits[-1].update
                kept = "" if best is None else f"; the policy of update {best.update}, the best, is {self.kept(best)}"
                raise RunHalted(f"update {last}: the guard's rule {rule.name} fired: {_why(rule, self.audits)}{kept}")


def _why(rule: Rule, audits: Sequence[Audit]) -> str:
    last = audits[-1]
    if rule.watch == "kl":
        return f"{last.kl:.2f} nats from the reference"
    if rule.watch == "cost":
        return f"mean cost {last.cost:.2f}"
    if rule.watch == "degenerate":
        return " and ".join(rules.degenerate(last.policy, last.reference, rule.limit or rules.FACTOR))
    known = [
        own for audit in audits if (own := rules.interval(audit, rule.principle)) is not None and own.value is not None
    ]
    what = "win rate" if rule.principle is None else f"win rate under {rule.principle}"
    best = max([rules.EVEN, *(own.value or 0.0 for own in known[:-1])])
    bound = f"was {best:.2f}" if rule.limit is None else f"limit {rule.limit:g}"
    return f"{what} {known[-1].value:.2f}, at most {known[-1].high:.2f}, {bound}"


def _figures(audit: Audit) -> dict[str, float]:
    """What goes into the metrics; what is not known is left out."""
    won = rules.value(audit)
    gap = None if audit.proxy is None or audit.reference_proxy is None else audit.proxy - audit.reference_proxy
    found = {
        "guard/missing": float(audit.missing is not None),
        "guard/win_rate": won,
        "guard/proxy": audit.proxy,
        "guard/proxy_gain": gap,
        "guard/kl": audit.kl,
        "guard/entropy": audit.entropy,
        "guard/cost": audit.cost,
        "guard/spread": audit.spread,
        **{f"guard/{name}": value for name, value in audit.policy.model_dump().items()},
    }
    return {name: value for name, value in found.items() if value is not None}


def _rows(path: Path, kind: type[R], name: str) -> list[R]:
    return read_rows(path, kind, name) if path.is_file() else []


def _said(audit: Audit) -> str:
    """An audit in one line."""
    if audit.missing is not None:
        return f"the audit is missing: {audit.missing}"
    win = audit.win_rate
    won = (
        "no win rate"
        if win is None or win.value is None
        else f"win rate {win.value:.2f} [{win.low:.2f}, {win.high:.2f}]"
    )
    paid = "" if audit.proxy is None else f", reward {audit.proxy:.2f}"
    return f"{won} on {0 if win is None else win.n} prompts{paid}, KL {audit.kl:.2f}"
