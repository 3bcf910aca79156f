"""Constitutions and judgements that tests of labels are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from rlaif.critique.compare import OPTIONS
from rlaif.records.constitution import Axis, Constitution, Principle
from rlaif.records.judgement import Form, Judgement, Mode, Order
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message

PAIR = Pair(id="p", messages=[Message(role="user", content="q")], responses=("one", "two"))


def constitution(
    *principles: tuple[str, str, float], veto: Sequence[str] = (), cost: Sequence[str] = (), good: str | None = None
) -> Constitution:
    """Of (id, axis, weight). With `good` they are checks, whose good answer it is."""
    axes = {axis: Axis(kind="cost" if axis in cost else "reward") for _, axis, _ in principles}
    rows = []
    for name, axis, weight in principles:
        data = {"id": name, "axis": axis, "weight": weight, "prefer": f"Choose {name}.", "veto": name in veto}
        check = {"kind": "check", "ask": f"Is it {name}?", "good": good, "category": f"{name} category"}
        rows.append(Principle.model_validate(data | (check if good else {})))
    return Constitution(name="test", axes=axes, principles=rows)


def judgement(
    principle: str,
    order: Order,
    *logprobs: float,
    votes: Sequence[int] | None = None,
    form: Form = "compare",
    mode: Mode = "logprob",
    response: Literal[0, 1] | None = None,
    critic: str = "fake:critic",
    wording: int = 0,
) -> Judgement:
    """An answer in log-probabilities or votes; without either, a failed one."""
    answered = bool(logprobs) or votes is not None
    return Judgement(
        key=f"{critic}{principle}{order}{response}{wording}",
        critic=critic,
        pair_id="p",
        principle_id=principle,
        principle="content",
        wording=wording,
        form=form,
        mode=mode,
        order=order,
        response=response,
        options=OPTIONS[form],
        status="ok" if answered else "failed",
        logprobs=tuple(logprobs) or None,
        votes=None if votes is None else tuple(votes),
        outside=0.0 if answered else None,
        reason=None if answered else "no answer",
    )


def certain(principle: str, p_one: float, *, critic: str = "fake:critic", mode: Mode = "logprob") -> list[Judgement]:
    """Both orders say that the first response is better with probability `p_one`."""
    p = min(max(p_one, 1e-9), 1 - 1e-9)
    first, second = math.log(p), math.log(1 - p)
    return [
        judgement(principle, "ab", first, second, critic=critic, mode=mode),
        judgement(principle, "ba", second, first, critic=critic, mode=mode),
    ]


def checked(principle: str, *yes: float) -> list[Judgement]:
    """P(Yes) of the first response in orders ab and ba, then of the second."""
    places: tuple[tuple[Literal[0, 1], Order], ...] = ((0, "ab"), (0, "ba"), (1, "ab"), (1, "ba"))
    return [
        judgement(principle, order, math.log(p), math.log(1 - p), form="check", response=response)
        for (response, order), p in zip(places, yes, strict=True)
    ]


def scored(principle: str, response: Literal[0, 1], counts: Mapping[int, int], *, wording: int = 0) -> Judgement:
    """Votes on scores from 1 to 10."""
    votes = [counts.get(score, 0) for score in range(1, 11)]
    return judgement(principle, "ab", votes=votes, form="score", mode="votes", response=response, wording=wording)
