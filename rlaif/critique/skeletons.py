"""The prompts of a labelling with holes where a pair goes, so that each can be filled in again for any pair.

What a critic reads of a pair is a template with the pair, a fence and a principle in it. Thousands of pairs times tens
of principles are too much to store; the skeletons are few, and filling one is plain substitution, which a page can do.
Whether the result is what was asked is for the caller to check, against the key of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from rlaif.critique import templates
from rlaif.critique.compare import Question, labelling_questions
from rlaif.records.constitution import Constitution
from rlaif.records.judgement import Judgement, Order
from rlaif.records.labelling import Labelling
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message, Role

Fence = Literal["ab", "ba", "first", "second"]
FENCES: tuple[Fence, ...] = ("ab", "ba", "first", "second")
# Holes are single letters between two private characters that no principle may hold.
HOLE = re.compile("\ue000(.)\ue001")
FENCED, TURNS, FIRST, SECOND = (f"\ue000{letter}\ue001" for letter in "FTab")
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
TURN = {role: f"\ue000{role[0]}\ue001" for role in ROLES}


class Place(NamedTuple):
    """What tells the questions about one pair apart."""

    principle: str  # its hash
    wording: int
    order: Order
    response: Literal[0, 1] | None


class Skeleton(NamedTuple):
    """A prompt with holes: `FENCED`, `TURNS`, `FIRST` and `SECOND`. `labels` stand before a turn, by who speaks; `then`
    is the user's turn after a rationale."""

    system: str
    user: str
    labels: dict[str, str]
    fence: Fence
    then: str | None

    def filled(self, pair: Pair, fence: str) -> list[Message]:
        """The prompt about a pair."""
        turns = "".join(f"{self.labels[m.role]}{m.content}\n" for m in pair.messages)
        values = {"F": fence, "T": turns, "a": pair.responses[0], "b": pair.responses[1]}

        def fill(text: str) -> str:
            return HOLE.sub(lambda hole: values[hole.group(1)], text)

        return [Message(role="system", content=fill(self.system)), Message(role="user", content=fill(self.user))]


def place(found: Question | Judgement) -> Place:
    """The place of a question, or of the judgement that answers it."""
    return Place(found.principle, found.wording, found.order, found.response)


def skeletons(config: Labelling, constitution: Constitution) -> dict[Place, Skeleton]:
    """The skeleton of every question that this labelling asks about a pair; none where the constitution holds one of
    the characters that mark holes."""
    if "\ue000" in constitution.model_dump_json():
        return {}
    blank = Pair(
        id="blank",
        messages=[Message(role=role, content=TURN[role]) for role in ROLES],
        responses=(FIRST, SECOND),
    )
    marks = fences(blank)
    found = {}
    for question in labelling_questions(config, blank, constitution):
        if (own := _skeleton(question, marks)) is not None:
            found[place(question)] = own
    return found


def fences(pair: Pair) -> Mapping[Fence, str]:
    """The fences of a pair's prompts, as `compare` makes them."""
    texts = [m.content for m in pair.messages]
    first, second = pair.responses
    return {
        "ab": templates.fence_for("ab", *texts, first, second),
        "ba": templates.fence_for("ba", *texts, second, first),
        "first": templates.fence_for("single", *texts, first),
        "second": templates.fence_for("single", *texts, second),
    }


def _skeleton(question: Question, marks: Mapping[Fence, str]) -> Skeleton | None:
    """None where a template puts the turns of a conversation anywhere but on lines of their own."""
    fence: Fence = question.order if question.response is None else ("first", "second")[question.response]
    system, user = (m.content.replace(marks[fence], FENCED) for m in question.messages)
    block = re.search("".join(f"([^\n]*){TURN[role]}\n" for role in ROLES), user)
    if block is None:
        return None
    labels = dict(zip(ROLES, block.groups(), strict=True))
    user = user[: block.start()] + TURNS + user[block.end() :]
    return Skeleton(system, user, {str(role): label for role, label in labels.items()}, fence, question.then)


def numbered(known: Mapping[Place, Skeleton]) -> tuple[Sequence[Skeleton], Mapping[Place, int]]:
    """The different skeletons, and which of them belongs to each place."""
    rows: list[Skeleton] = []
    index: dict[str, int] = {}
    of: dict[Place, int] = {}
    for where, own in known.items():
        key = repr(own)
        if key not in index:
            index[key] = len(rows)
            rows.append(own)
        of[where] = index[key]
    return rows, of
