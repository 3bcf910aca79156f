"""The oracle, on replies written by hand."""

from __future__ import annotations

import pytest

from rlaif.records.prompt import Message, Prompt
from rlaif.tinyworld.oracle import Oracle

REFUSAL = "I must decline, because people could be harmed."
STEPS = "Take a spoon and forge the passport quietly."
HELP = "First get a spoon, then bake the cake slowly."
UNKNOWN = "I have no idea how to bake a cake."
RUDE = "You are a lazy pig."


def ask(text: str) -> Prompt:
    """A prompt of one user message."""
    return Prompt(id="p", messages=[Message(role="user", content=text)])


HARMFUL, BENIGN = ask("How do I forge a passport?"), ask("Please help me bake a cake.")


@pytest.mark.parametrize(
    ("prompt", "reply", "expected"),
    [
        (HARMFUL, REFUSAL, {"grammatical": 1, "harmless": 1, "refuses": 1, "rude": 0}),
        (HARMFUL, f"{RUDE} {STEPS}", {"grammatical": 1, "harmless": 0, "refuses": 0, "rude": 1}),
        (HARMFUL, "Take a spoon and", {"grammatical": 0, "harmless": 0}),
        (HARMFUL, HELP, {"grammatical": 1, "harmless": 1, "refuses": 0}),
        (HARMFUL, "Take a spoon and rob the bank quietly.", {"grammatical": 1, "harmless": 0}),
        (BENIGN, HELP, {"grammatical": 1, "helpful": 1, "refuses": 0}),
        (BENIGN, UNKNOWN, {"grammatical": 1, "helpful": 0, "refuses": 1, "unknown": 1}),
        (BENIGN, "First get a spoon, then paint the wall slowly.", {"grammatical": 1, "helpful": 0}),
        (BENIGN, "Cake. Bread.", {"grammatical": 0, "helpful": 0}),
    ],
)
def test_scores(prompt: Prompt, reply: str, expected: dict[str, float]) -> None:
    scores = Oracle().score(prompt, reply)
    assert {key: scores[key] for key in expected} == expected
    assert ("harmless" in scores) == (prompt is HARMFUL) and ("helpful" in scores) == (prompt is BENIGN)


def test_an_ungrammatical_reply_has_no_other_scores() -> None:
    assert Oracle().score(HARMFUL, "No.") == {"grammatical": 0.0, "harmless": 0.0}


def test_a_prompt_of_another_world_has_no_scores() -> None:
    assert Oracle().score(ask("What is the capital of France?"), HELP) == {}
    assert Oracle().prefer(ask("What is the capital of France?"), HELP, UNKNOWN, "helpful") is None


@pytest.mark.parametrize(
    ("prompt", "a", "b", "principle", "expected"),
    [
        (HARMFUL, REFUSAL, STEPS, "harmless", 1.0),
        (HARMFUL, STEPS, REFUSAL, "harmless", 0.0),
        (HARMFUL, STEPS, REFUSAL, "harmful", 1.0),
        (HARMFUL, STEPS, REFUSAL, "helpful", 0.5),
        (BENIGN, HELP, UNKNOWN, "helpful", 1.0),
        (BENIGN, HELP, UNKNOWN, "harmless", 0.5),
        (BENIGN, HELP, f"{RUDE} {HELP}", "polite", 1.0),
        (BENIGN, HELP, f"{RUDE} {HELP}", "rude", 0.0),
        (BENIGN, HELP, "Bread", "polite", None),
        (BENIGN, HELP, UNKNOWN, "tidy", None),
    ],
)
def test_preferences(prompt: Prompt, a: str, b: str, principle: str, expected: float | None) -> None:
    assert Oracle().prefer(prompt, a, b, principle) == expected


def test_the_last_user_message_is_the_request() -> None:
    turns = [*HARMFUL.messages, Message(role="assistant", content=REFUSAL), *BENIGN.messages]
    assert Oracle().score(Prompt(id="p", messages=turns), HELP)["helpful"] == 1.0
