"""Dialogues as texts and as conversations."""

from __future__ import annotations

import pytest

from rlaif.critique.dialogue import so_far, whole
from rlaif.records.prompt import Message

FIRST = [Message(role="system", content="s"), Message(role="user", content="u1")]


def test_a_single_reply_is_itself() -> None:
    assert whole(["only"], [], "en") == "only"


def test_all_turns_stand_in_a_dialogue() -> None:
    assert whole(["r1", "r2"], ["u2"], "en") == "r1\n\nHuman: u2\n\nAssistant: r2"
    assert whole(["r1", "r2"], ["u2"], "zh") == "r1\n\n用户：u2\n\n助手：r2"
    with pytest.raises(ValueError):
        whole(["r1"], ["u2"], "en")


def test_the_next_reply_reads_everything_so_far() -> None:
    assert so_far(FIRST, [], ["u2", "u3"]) == FIRST
    said = so_far(FIRST, ["r1"], ["u2", "u3"])
    assert [(m.role, m.content) for m in said[2:]] == [("assistant", "r1"), ("user", "u2")]
