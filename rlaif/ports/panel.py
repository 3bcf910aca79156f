"""The critics of a labelling: those that vote on every pair, and a stronger one for what stays unsure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from rlaif.critique.compare import Question
from rlaif.ports import judging
from rlaif.ports.answers import Asking, NotStored
from rlaif.ports.budget import Budget, BudgetSpent
from rlaif.ports.engines import Engines
from rlaif.ports.judging import Reading
from rlaif.records.errors import InputError
from rlaif.records.judgement import Judgement
from rlaif.records.labelling import Critic, Labelling
from rlaif.records.store import AnswerStore


class Seat(NamedTuple):
    """A critic, and how its answers are read."""

    asking: Asking
    reading: Reading

    def record(self) -> Critic:
        """What the folder of labels remembers of it."""
        model = self.asking.model
        choices = self.reading.mode == "votes" and model.reading != "text"
        return Critic(spec=model.spec, identity=self.asking.identity, mode=self.reading.mode, choices=choices)


class Panel(NamedTuple):
    """The critics of one labelling."""

    voters: list[Seat]
    strong: Seat | None
    budget: Budget | None

    @classmethod
    def assemble(cls, config: Labelling, engines: Engines, critic: str, store: AnswerStore) -> Panel:
        """Load every critic. What it cannot do as asked is said.

        Raises:
            InputError: a critic is named twice, or cannot be loaded.
        """

        def seat(spec: str, what: str) -> Seat:
            model = engines.chat(spec)
            mode, note = judging.choose("auto" if config.mode == "score" else config.mode, model)
            if note:
                engines.reporter.line(note)
            asking = Asking(model, store, engines.reporter, what=what, max_failure_rate=config.max_failure_rate)
            return Seat(asking, Reading(mode, config.samples, config.rationales, config.rationale_tokens))

        specs = [critic, *config.more_critics]
        everybody = [*specs, *([config.escalate] if config.escalate else [])]
        if twice := {spec for spec in everybody if everybody.count(spec) > 1}:
            fix = "name it once; its weight is in critic_weights"
            raise InputError(f"the critic {twice.pop()!r} is named twice", fix=fix)
        strong = seat(config.escalate, "escalated pairs") if config.escalate else None
        return cls([seat(spec, "pairs") for spec in specs], strong, engines.budget)

    @property
    def everybody(self) -> list[Seat]:
        return [*self.voters, *([self.strong] if self.strong else [])]

    @property
    def block(self) -> int:
        """Requests that are asked together."""
        return max(seat.asking.model.block for seat in self.everybody)


def ask(
    seat: Seat, asked: Sequence[Sequence[Question]], judged: Sequence[list[Judgement]], rows: Iterable[int]
) -> None:
    """Ask one critic about some pairs of a block, and put its judgements beside theirs.

    Args:
        asked: the questions about each pair.
        judged: the judgements of each pair so far, which grow.
        rows: which pairs.
    """
    wanted = [(row, question) for row in rows for question in asked[row]]
    answers = judging.judge(seat.asking, [question for _, question in wanted], seat.reading)
    for (row, _), judgement in zip(wanted, answers, strict=True):
        judged[row].append(judgement)


def escalate(
    strong: Seat, asked: Sequence[Sequence[Question]], judged: Sequence[list[Judgement]], rows: Sequence[int]
) -> None:
    """Ask the stronger critic; where its budget runs out, what it was paid for is used, and nothing more is asked."""
    try:
        if not strong.asking.stored_only:
            return ask(strong, asked, judged, rows)
    except BudgetSpent as spent:
        strong.asking.say_once(f"{spent}; pairs that stay unsure keep their first label")
        strong.asking.stored_only = True
    for row in rows:
        with suppress(NotStored):
            ask(strong, asked, judged, [row])
