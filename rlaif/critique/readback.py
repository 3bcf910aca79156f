"""What stands in a rendered pairwise prompt, read back from its fences: for critics that are code, not models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rlaif.records.prompt import Message

# Every fence begins with the same mark in brackets, which is drawn anew for each prompt.
FENCED = re.compile(
    r"\A(?P<mark>\[\w+\] )\S+\n(?P<conversation>.*?)\n^(?P=mark)\S+ A\n(?P<a>.*?)\n"
    r"^(?P=mark)\S+ B\n(?P<b>.*?)\n^(?P=mark)\S+$\n*(?P<question>.*)\Z",
    re.S | re.M,
)


class Shown(NamedTuple):
    """The parts of a pairwise prompt, of any language; `question` is all that follows the fences."""

    conversation: str
    a: str
    b: str
    question: str


def shown(messages: Sequence[Message]) -> Shown:
    """Take a pairwise prompt apart.

    Raises:
        ValueError: the messages are no such prompt.
    """
    if parts := FENCED.search(messages[-1].content):
        return Shown(*parts.group("conversation", "a", "b", "question"))
    raise ValueError("these messages hold no pair of fenced responses")
