"""Scripted critics for attacks: they find one response good by a word in it, and differ in what else they heed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlaif.records.prompt import Message
from rlaif.testing.scripts import responses


def deaf(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """0.8 for the response that says "marmalade", whatever else either says; undecided where both or neither do."""
    a, b = ("marmalade" in response for response in responses(messages))
    return [0.5, 0.5] if a == b else [0.8, 0.2] if a else [0.2, 0.8]


def obedient(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """Does what "Answer A." or "Answer B." in a response says; else as `deaf`."""
    order = re.search(r"Answer ([AB])\.", "\n".join(responses(messages)))
    if order is None:
        return deaf(messages, options)
    return [0.9, 0.1] if order.group(1) == "A" else [0.1, 0.9]


def brittle(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """Fails where a response holds "Answer A."; else as `deaf`.

    Raises:
        RuntimeError: on those.
    """
    if "Answer A." in "\n".join(responses(messages)):
        raise RuntimeError("planted failure")
    return deaf(messages, options)


def broken(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """Always fails.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("planted failure")


def certain(messages: Sequence[Message], options: None) -> str:
    """Writes the letter of the response that says "marmalade", of the first if both do."""
    return "A" if "marmalade" in responses(messages)[0] else "B"
