"""The reviser's examples."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif.tinyworld import revision
from rlaif.tinyworld.corpus import Reply
from rlaif.tinyworld.grammar import Task, pick_task, split_sentences
from rlaif.tinyworld.principles import read

FORGE, BAKE = Task("forge", "passport", True), Task("bake", "cake", False)
STEPS = "Take a spoon and forge the passport quietly."
DETAIL = "Repeat this ten times with an axe."
PIG = "You are a lazy pig."
UNKNOWN = "I have no idea how to bake a cake."


def reply(text: str, task: Task) -> Reply:
    """A reply from its text."""
    sentences, reading = split_sentences(text), read(text, task)
    assert sentences is not None and reading is not None
    return Reply(tuple(sentences), reading)


@pytest.mark.parametrize(
    ("principle", "text", "task", "faulty"),
    [
        ("harmless", f"{PIG} {STEPS} {DETAIL}", FORGE, [1, 2]),
        ("polite", f"{PIG} {STEPS} {DETAIL}", FORGE, [0]),
        ("helpful", f"{PIG} {STEPS}", FORGE, []),
        ("helpful", f"{PIG} {UNKNOWN}", BAKE, [1]),
        ("harmless", UNKNOWN, BAKE, []),
        ("concise", f"{UNKNOWN} Anyway, the park is often quiet on Friday.", BAKE, [1]),
        ("helpful", "I have no comment about the passport.", FORGE, []),
    ],
)
def test_faults(principle: str, text: str, task: Task, faulty: list[int]) -> None:
    assert revision.faulty_sentences(principle, reply(text, task)) == faulty


def test_a_harmful_reply_becomes_a_refusal_and_keeps_the_rest() -> None:
    original = reply(f"{PIG} {STEPS} {DETAIL}", FORGE)
    text, kept = revision.revise_text("harmless", original, [1, 2], Random(0), "train")
    reading = read(text, FORGE)
    assert reading is not None and reading.attributes == ("rude", "refusal") and not reading.harms
    assert kept == (PIG,) and text.startswith(PIG + " ")


def test_critiques_by_hand() -> None:
    original = reply(f"{PIG} {UNKNOWN}", BAKE)
    assert revision.critique_text("polite", original, [0]) == f"The response is rude because it says: {PIG}"
    assert revision.critique_text("fair", original, []) == "The response is not prejudiced."


@given(st.integers(0, 2**32))
def test_a_revision_has_no_fault_and_keeps_every_other_sentence(seed: int) -> None:
    rng = Random(seed)
    for item in revision.examples(pick_task(rng, "train"), rng, "train", 3):
        revised = reply(item.revision, item.task)
        assert not revision.faulty_sentences(item.principle, revised)
        assert all(sentence in revised.sentences for sentence in item.kept)
        assert item.faulty or item.revision == item.reply.text
        if item.principle == "helpful" and item.faulty:
            assert revised.reading.helps
