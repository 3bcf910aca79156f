"""What stands in a rendered pairwise prompt, read back from its fences: for critics that are code, not models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rlaif.records.prompt import Message


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
    text = messages[-1].content
    opening = re.match(r"\[(\w+)\] ", text)
    if opening:
        mark = re.escape(opening.group())
        pattern = rf"\A{mark}\S+\n(.*?)\n^{mark}\S+ A\n(.*?)\n^{mark}\S+ B\n(.*?)\n^{mark}\S+$\n*(.*)\Z"
        if parts := re.search(pattern, text, re.S | re.M):
            return Shown(*parts.groups())
    raise ValueError("these messages hold no pair of fenced responses")
