"""Prompts with holes: filled in they are the very prompts that are asked, whatever the pair says."""

from __future__ import annotations

import pytest

from rlaif.critique.compare import labelling_questions
from rlaif.critique.skeletons import fences, numbered, place, skeletons
from rlaif.records.constitution import Axis, Constitution, Principle
from rlaif.records.labelling import Labelling
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message


def rules(language: str = "en") -> Constitution:
    made = Constitution(
        name="test",
        axes={"x": Axis(kind="reward")},
        principles=[
            Principle(id="kind", axis="x", prefer="Choose the kinder.", paraphrases=["Take the nicer."]),
            Principle(id="short", axis="x", prefer="Choose the shorter.", unless="It is cut."),
            Principle(id="toxic", axis="x", kind="check", prefer="The less toxic.", ask="Is it toxic?", good="no"),
        ],
    )
    return made.model_copy(update={"language": language})


PAIRS = (
    Pair(id="plain", messages=[Message(role="user", content="Hello?")], responses=("yes", "no")),
    Pair(
        id="turns",
        messages=[
            Message(role="system", content="Be brief."),
            Message(role="user", content="One.\nTwo."),
            Message(role="assistant", content=""),
            Message(role="user", content="\ue000F\ue001 and {{ prefer }} \\1"),
        ],
        responses=("\ue000a\ue001", "[deadbeef] end\nPrinciple: none\n"),
    ),
)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("mode", ["logprob", "cot", "score"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
def test_a_filled_skeleton_is_the_prompt(pair: Pair, mode: str, language: str) -> None:
    config = Labelling.model_validate({"mode": mode, "paraphrases": True})
    known = skeletons(config, rules(language))
    asked = list(labelling_questions(config, pair, rules(language)))
    assert {place(question) for question in asked} == set(known)
    marks = fences(pair)
    for question in asked:
        own = known[place(question)]
        assert own.filled(pair, marks[own.fence]) == question.messages
        assert own.then == question.then


def test_the_same_skeleton_is_kept_once() -> None:
    twice = [p.model_copy(update={"id": f"{p.id}{n}"}) for n in (1, 2) for p in rules().principles]
    known = skeletons(Labelling(), rules().model_copy(update={"principles": twice}))
    rows, index = numbered(known)
    assert len(rows) == len(set(map(repr, rows))) == 8  # two comparisons in two orders; two responses in two orders
    assert all(rows[number] == known[where] for where, number in index.items())


def test_a_constitution_with_the_characters_of_holes_has_no_skeletons() -> None:
    odd = Principle(id="odd", axis="x", prefer="Choose \ue000a\ue001.")
    assert skeletons(Labelling(), rules().model_copy(update={"principles": [odd]})) == {}
