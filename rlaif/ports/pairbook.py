"""Labelled pairs for a page on which people browse them: every vote, every judgement, and what the critic read.

A row is a list, because thousands of them travel in one file; `ROW` and its kin name the columns, and the page's script
reads them by the same order. Prompts are not stored but filled in again from their skeletons; a judgement says whether
that gives the very text that was asked, which its key proves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from rlaif.critique import skeletons
from rlaif.critique.skeletons import Fence, Place, Skeleton
from rlaif.ports.answers import option_key
from rlaif.ports.readout import Readout
from rlaif.records.judgement import Judgement
from rlaif.records.label import Label
from rlaif.records.labelling import LabelFolder
from rlaif.records.pair import Pair

MAX_TEXT = 8000  # characters of one text that a page holds
MAX_RATIONALE = 1200
PAIR = ("id", "round", "messages", "responses", "preferred", "fences")
LABEL = ("source", "critic", "p", "weight", "abstained", "order_consistent", "position_bias", "flags")
PARTS = ("axes", "votes", "opinions")
AXIS = ("axis", "p", "coverage", "veto")
VOTE = ("principle", "critic", "axis", "form", "weight", "p_ab", "p_ba", "p", "failed", "values")
JUDGED = (
    *("principle", "critic", "wording", "form", "mode", "order", "response", "options", "logprobs", "votes"),
    *("outside", "reason", "rationale", "prompt", "exact"),
)


Row = tuple[list[Any], list[list[Any]]]


class Book(NamedTuple):
    """Rows of the first pairs with their judgements, and what all of them refer to: `columns`, the names of what stands
    in a row, and `prompts`, the skeletons."""

    head: dict[str, Any]
    rows: Iterator[Row]


class _Prompts(NamedTuple):
    rows: Sequence[Skeleton]
    places: dict[Place, int]
    identities: dict[str, str]  # of critics, by SPEC


COLUMNS = {"pair": (*PAIR, *LABEL, *PARTS), "axis": AXIS, "vote": VOTE, "judgement": JUDGED}


class Chapter(NamedTuple):
    """The labels of one round of a run, and what is known of how they were made."""

    number: int
    readout: Readout
    about: LabelFolder | None
    labels: Sequence[Label]


def book(chapters: Sequence[Chapter]) -> Book:
    """The pairs of these labels with all that was asked about them."""
    head: list[Skeleton] = []
    rows: list[Iterator[Row]] = []
    for own in chapters:
        known = skeletons.skeletons(own.about.config, own.about.constitution) if own.about else {}
        some, places = skeletons.numbered(known)
        identities = {critic.spec: critic.identity for critic in own.about.critics} if own.about else {}
        later = {place: number + len(head) for place, number in places.items()}
        head += some
        rows.append(_rows(own, _Prompts(head, later, identities)))
    return Book({"columns": COLUMNS, "prompts": [skeleton._asdict() for skeleton in head]}, chain.from_iterable(rows))


def _rows(own: Chapter, prompts: _Prompts) -> Iterator[Row]:
    judged = _judged(own.readout, {label.pair.id: label.pair for label in own.labels}, prompts)
    for label in own.labels:
        asked = judged.get(label.pair.id, [])
        yield _row(own.number, label, asked, prompts), asked


def _judged(readout: Readout, pairs: dict[str, Pair], prompts: _Prompts) -> dict[str, list[list[Any]]]:
    """The judgements of these pairs, as rows."""
    found: dict[str, list[list[Any]]] = {}
    marks: dict[str, Mapping[Fence, str]] = {}
    for judgement in readout.rows("label/judgements.jsonl", Judgement, "judgements") if pairs else ():
        pair = pairs.get(judgement.pair_id)
        if pair is not None:
            if pair.id not in marks:
                marks[pair.id] = skeletons.fences(pair)
            found.setdefault(pair.id, []).append(_judgement(judgement, pair, marks[pair.id], prompts))
    return found


def _row(number: int, label: Label, judged: list[list[Any]], prompts: _Prompts) -> list[Any]:
    pair = label.pair
    used = {prompts.rows[row[-2]].fence for row in judged if row[-2] is not None}
    marks = skeletons.fences(pair) if used else {}
    return [
        pair.id,
        number,
        [[m.role, _cut(m.content, MAX_TEXT)] for m in pair.messages],
        [_cut(response, MAX_TEXT) for response in pair.responses],
        pair.preferred,
        {name: mark for name, mark in marks.items() if name in used},
        label.source,
        label.critic,
        _short(label.p),
        _short(label.weight),
        label.abstained,
        label.order_consistent,
        _short(label.position_bias),
        label.flags,
        [[name, _short(axis.p), _short(axis.coverage), axis.veto] for name, axis in label.axes.items()],
        [
            [
                *(v.principle_id, v.critic, v.axis, v.form, v.weight, *map(_short, (v.p_ab, v.p_ba, v.p)), v.failed),
                [_short(value) for value in v.values] if v.values else None,
            ]
            for v in label.votes
        ],
        [[o.source, o.name, o.weight, _short(o.p)] for o in label.opinions],
    ]


def _judgement(own: Judgement, pair: Pair, marks: Mapping[Fence, str], prompts: _Prompts) -> list[Any]:
    index = prompts.places.get(skeletons.place(own))
    return [
        own.principle_id,
        own.critic,
        own.wording,
        own.form,
        own.mode,
        own.order,
        own.response,
        list(own.options),
        None if own.logprobs is None else [_short(value) for value in own.logprobs],
        None if own.votes is None else list(own.votes),
        _short(own.outside),
        None if own.reason is None else _cut(own.reason, MAX_RATIONALE),
        [_cut(text, MAX_RATIONALE) for text in own.rationale],
        index,
        None if index is None else _exact(own, prompts.rows[index], pair, marks, prompts),
    ]


def _exact(own: Judgement, of: Skeleton, pair: Pair, marks: Mapping[Fence, str], prompts: _Prompts) -> bool | None:
    """Whether the filled skeleton is what was asked, by the answer's key; None where a key is of several requests."""
    if own.mode != "logprob" or own.critic not in prompts.identities:
        return None
    messages = of.filled(pair, marks[of.fence])
    return option_key(prompts.identities[own.critic], messages, own.options) == own.key


def _cut(text: str, most: int) -> str | list[Any]:
    """The text; of one that is too long its beginning, and how many characters are left out."""
    return text if len(text) <= most else [text[:most], len(text) - most]


def _short(value: float | None) -> float | None:
    """A number in the digits that a page shows."""
    return None if value is None else round(value, 4)
