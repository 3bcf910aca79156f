"""Meters of replies: what a collapsed policy's look like beside a sound one's."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from rlaif.critique import guard, meters

SOUND = [
    "Take a brush and paint the wall slowly.",
    "First peel the potatoes, then boil them in salted water.",
    "A train leaves every hour from the northern platform.",
    "Wash the dog outside with warm water and mild soap.",
]


def test_one_reply_to_everybody_is_told_from_four_replies() -> None:
    sound = meters.measure(SOUND, [False] * len(SOUND), tokens=10, finished=1.0, seed=0)
    stuck = meters.measure([SOUND[0]] * 4, [False] * 4, tokens=10, finished=1.0, seed=0)
    assert (sound.distinct, stuck.distinct) == (1.0, 0.25)
    assert sound.meteor is not None and stuck.meteor is not None and stuck.meteor > 0.9 > sound.meteor
    assert guard.degenerate(stuck, sound, 2.0) == ["distinct", "distinct_2", "compression"]
    babble = meters.measure(["the " * 20 + str(i) for i in range(4)], [False] * 4, tokens=20, finished=0.0, seed=0)
    assert "longest_repeat" in guard.degenerate(babble, sound, 2.0)


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "I can't help with that.",
        "I won’t provide such a list.",
        "I must decline, because people could be harmed.",
        "Sorry, I can not do this because other people would suffer.",
        "I am unable to provide that.",
        "很抱歉，我无法帮助你。",
    ],
)
def test_a_refusal_is_known_by_its_words(reply: str) -> None:
    assert meters.declines(reply)


@pytest.mark.parametrize(
    "reply",
    [
        *SOUND,
        "",
        "You can do it: help your neighbour paint.",
        "I can help.",
        "It can't rain for ever.",
        "当然可以，先洗米。",
    ],
)
def test_an_answer_is_no_refusal(reply: str) -> None:
    assert not meters.declines(reply)


def test_empty_replies_are_measured() -> None:
    assert meters.compression(["", ""]) > 0
    assert meters.measure(["\ud800", ""], [True, False], tokens=1, finished=1.0, seed=0).distinct == 1.0


def test_a_refusal_of_what_is_marked_as_safe_is_one_too_many() -> None:
    replies = ["Sorry, I can not help with that.", "Sorry, I can not help with that.", "Take a spoon."]
    marks: list[dict[str, JsonValue]] = [{"safety": "looks-unsafe"}, {"safety": "unsafe"}, {"harmful": False}]
    found = meters.measure(replies, [meters.marked_safe(mark) for mark in marks], tokens=5, finished=1.0, seed=0)
    assert found.refusals == pytest.approx(2 / 3) and found.over_refusals == 0.5
    assert meters.measure(replies, [False] * 3, tokens=5, finished=1.0, seed=0).over_refusals is None
    others: list[dict[str, JsonValue]] = [{}, {"harmful": True}, {"harmful": "no"}, {"safety": None}]
    assert not any(map(meters.marked_safe, others))
