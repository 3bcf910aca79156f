"""Scores responses by the terms of a run's reward. A score that is missing stays missing: it is never 0."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import NamedTuple, Protocol

from rlaif.critique import direct
from rlaif.ports import judging, registry
from rlaif.ports.answers import Asking
from rlaif.ports.asks import Ask, Range
from rlaif.ports.engines import Engines
from rlaif.ports.judging import Reading
from rlaif.ports.learner import Conversation, RewardScorer
from rlaif.ports.processes import Processes
from rlaif.ports.user_scorer import place
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.prompt import Prompt
from rlaif.records.rewards import CostTerm, CriticTerm, FunctionTerm, LengthTerm, ModelTerm, RewardTerm
from rlaif.records.store import AnswerStore


class Reply(NamedTuple):
    """A response and the prompt that it answers; `tokens` counts the response's, EOS included."""

    prompt: Prompt
    text: str
    tokens: int


class Scores(NamedTuple):
    """The weighted sum of the terms for each response, and every term by name; None where something is missing.
    `costs` is what a constraint is on, where there is one: never part of the sum by itself."""

    totals: list[float | None]
    terms: dict[str, list[float | None]]
    costs: list[float] | None


class Models(NamedTuple):
    """Folders of the scalar models that the run has trained; no cost model in most runs."""

    reward: str
    cost: str | None


class Critic(NamedTuple):
    """The critic of the run, and what it or another one judges responses by; `store` is where answers are kept."""

    spec: str
    constitution: Constitution
    store: Path


class Scorer(Protocol):
    """One term of a reward."""

    def score(self, replies: Sequence[Reply]) -> Sequence[float | None]: ...

    def close(self) -> None: ...


class Rewards:
    """All terms of a run's reward.

    Args:
        models: each is loaded only where a term, or a constraint, asks for it.
        constrained: score the costs too.

    Raises:
        InputError: a model or function cannot be loaded.
    """

    def __init__(
        self,
        terms: Sequence[RewardTerm],
        engines: Engines,
        models: Models,
        critic: Critic,
        *,
        constrained: bool = False,
    ) -> None:
        self._terms = [(term, _scorer(term, engines, models, critic)) for term in terms]
        self._cost = _cost_scorer(engines, models) if constrained else None

    def score(self, replies: Sequence[Reply]) -> Scores:
        """Every term of every response.

        Raises:
            InputError: a function fails, or returns no number.
            RunHalted: more judgements failed than a term allows, or a model's score is not finite.
        """
        found = {term.name: list(scorer.score(replies)) for term, scorer in self._terms}
        weights = [term.weight for term, _ in self._terms]
        totals = []
        for own in zip(*found.values(), strict=True):
            known = [weight * value for weight, value in zip(weights, own, strict=True) if value is not None]
            totals.append(sum(known) if len(known) == len(own) else None)
        return Scores(totals, found, None if self._cost is None else self._cost.score(replies))

    def spread(self, replies: Sequence[Reply]) -> list[float] | None:
        """The variance of each response's score among the reward models of an ensemble; None where there is no such."""
        for _, scorer in self._terms:
            if isinstance(scorer, ModelScorer) and (found := scorer.spread(replies)) is not None:
                return found
        return None

    def close(self) -> None:
        """Close what the terms hold open."""
        for _, scorer in self._terms:
            scorer.close()


def _scorer(term: RewardTerm, engines: Engines, models: Models, critic: Critic) -> Scorer:
    if isinstance(term, ModelTerm):
        return ModelScorer(engines.learner("reward_scorer", model=models.reward))
    if isinstance(term, CostTerm):
        return _cost_scorer(engines, models)
    if isinstance(term, LengthTerm):
        return LengthScorer(term)
    if isinstance(term, FunctionTerm):
        return FunctionScorer(term)
    main = engines.processes.rank == 0
    return ScoredByMain(CriticScorer(term, engines, critic) if main else None, engines.processes)


def asks(
    prompts: Sequence[Prompt], rows: tuple[int, int], critic: str, constitution: Constitution, replies: int
) -> list[Ask]:
    """What scoring `replies` responses to such prompts will take of the critic."""
    asked = [q for p in prompts for q in direct.questions_about(p.id, p.messages, "", constitution)]
    most = replies * len(asked) / len(prompts)  # the same response twice is asked about once
    return judging.asks(
        "rewards", critic, asked, rows, Range(most / 2, most), "auto", Reading("logprob"), ("rollouts", "rollouts")
    )


class ModelScorer:
    """A trained scalar model: the reward model or the cost model."""

    def __init__(self, model: RewardScorer) -> None:
        self._model = model

    def score(self, replies: Sequence[Reply]) -> list[float]:
        return self._model.score([Conversation(r.prompt.messages, r.text) for r in replies])

    def spread(self, replies: Sequence[Reply]) -> list[float] | None:
        """The variance among an ensemble's members; None where the model is one alone."""
        spread = getattr(self._model, "spread", None)
        return None if spread is None else spread([Conversation(r.prompt.messages, r.text) for r in replies])

    def close(self) -> None: ...


def _cost_scorer(engines: Engines, models: Models) -> ModelScorer:
    if models.cost is None:
        fix = "add a section such as cost: {axis: harmless}"
        raise InputError("the run has no cost model", fix=fix, field="cost")
    return ModelScorer(engines.learner("reward_scorer", model=models.cost))


class LengthScorer:
    """Minus the share of the way from `free` to `limit` that a response has gone, at most 1."""

    def __init__(self, term: LengthTerm) -> None:
        self._term = term

    def score(self, replies: Sequence[Reply]) -> list[float]:
        free, limit = self._term.free, self._term.limit
        return [-min(1.0, max(0.0, (r.tokens - free) / (limit - free))) for r in replies]

    def close(self) -> None: ...


class FunctionScorer:
    """A user's own function."""

    def __init__(self, term: FunctionTerm) -> None:
        self._term = term
        self._function = registry.function(term.function, field="policy.rewards")

    def score(self, replies: Sequence[Reply]) -> list[float]:
        return [self._one(reply) for reply in replies]

    def close(self) -> None: ...

    def _one(self, reply: Reply) -> float:
        given = reply.prompt.model_dump()  # plain dictionaries, and a copy: what the function does to them stays there
        where = f"for a response to the prompt {reply.prompt.id!r}"
        fix = "mend the function and run the same command again: it goes on from the last checkpoint"
        try:
            value = self._function(given["messages"], reply.text, given["meta"])
        except (Exception, SystemExit) as error:  # sys.exit(0) would look like the end of a run that is done
            file, line = place(error)
            problem = f"the reward function {self._term.function!r} raised {type(error).__name__}: {error} {where}"
            raise InputError(problem, fix=fix, file=file, line=line, field="policy.rewards") from error
        if isinstance(value, bool) or not isinstance(value, Real) or not _in_range(value):
            said = (
                object.__repr__(value) if not isinstance(value, str | Real) and value is not None else repr(value)[:80]
            )
            problem = f"the reward function {self._term.function!r} returned {said}, no finite number, {where}"
            raise InputError(problem, fix=fix, field="policy.rewards")
        return float(value)


def _in_range(value: Real) -> bool:
    """Whether a number is finite, also in float32, which scores are kept in."""
    try:
        return abs(float(value)) < 3.4e38
    except OverflowError:
        return False


class ScoredByMain:
    """A term that the main process scores for all that train together: a critic has one store of answers, one budget
    and one count of failures. The others have no scorer."""

    def __init__(self, scorer: Scorer | None, processes: Processes) -> None:
        self._scorer = scorer
        self._processes = processes

    def score(self, replies: Sequence[Reply]) -> Sequence[float | None]:
        everyone = self._processes.gather(list(replies))
        found = [] if self._scorer is None else self._scorer.score([reply for own in everyone for reply in own])
        first = sum(map(len, everyone[: self._processes.rank]))
        return self._processes.gather(found)[0][first : first + len(replies)]

    def close(self) -> None:
        if self._scorer is not None:
            self._scorer.close()


class CriticScorer:
    """The term's critic, or else the run's, asked about each response alone."""

    def __init__(self, term: CriticTerm, engines: Engines, critic: Critic) -> None:
        model = engines.chat(term.critic or critic.spec)
        mode, note = judging.choose("auto", model)
        if note:
            engines.reporter.line(note)
        self._reading = Reading(mode)
        self._constitution = critic.constitution
        self._store = AnswerStore(critic.store)
        rate = term.max_failure_rate
        self._asking = Asking(model, self._store, engines.reporter, what="rewards", max_failure_rate=rate)
        self._judged = self._failed = 0

    def score(self, replies: Sequence[Reply]) -> list[float | None]:
        """The score of each response from -1 to 1; None where a judgement of it failed.

        Raises:
            RunHalted: of all judgements so far, more than allowed failed.
        """
        asked = [direct.questions_about(r.prompt.id, r.prompt.messages, r.text, self._constitution) for r in replies]
        judged = judging.judge(self._asking, [q for own in asked for q in own], self._reading)
        reasons = [j.reason for j in judged if j.status == "failed"]
        self._judged += len(judged)
        self._failed += len(reasons)
        self._asking.count_failures(self._failed, self._judged, reasons[-1] if reasons else None)
        rest = iter(judged)
        return [direct.value(list(islice(rest, len(own))), self._constitution) for own in asked]

    def close(self) -> None:
        self._store.close()
