"""Small scripts for the `scripted` engine: critics whose bias is known, for tests and demonstrations.

Use them as `scripted:rlaif.testing.scripts:prefers_longer`. They read the two responses from the fenced lines of the
pairwise template of any language, as a critic would, and depend on their arguments alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rlaif.critique.readback import shown
from rlaif.records.prompt import Message


def responses(messages: Sequence[Message]) -> tuple[str, str]:
    """The responses A and B of a rendered pairwise prompt.

    Raises:
        ValueError: the messages are no such prompt.
    """
    found = shown(messages)
    return found.a, found.b


def prefers_longer(messages: Sequence[Message], options: tuple[str, ...] | None) -> list[float] | str:
    """Mostly sure that the longer response is better; undecided where both have the same length. Writes one reply."""
    if options is None:
        return "I am happy to help with that."
    a, b = responses(messages)
    return [0.5, 0.5] if len(a) == len(b) else [0.9, 0.1] if len(a) > len(b) else [0.1, 0.9]


def always_first(messages: Sequence[Message], options: tuple[str, ...]) -> list[float]:
    """Prefers whatever stands first: position bias and nothing else."""
    return [0.9] + [0.1 / (len(options) - 1)] * (len(options) - 1)


def even(messages: Sequence[Message], options: tuple[str, ...] | None) -> list[float] | str:
    """Undecided about everything, and says so where it writes."""
    return "I cannot decide." if options is None else [1 / len(options)] * len(options)


def fails_every_third(messages: Sequence[Message], options: tuple[str, ...] | None) -> list[float] | str:
    """`prefers_longer` that fails on about a third of all messages: on the same ones, whatever the order of asking.

    Raises:
        RuntimeError: on that third.
    """
    if hashlib.sha256(messages[-1].content.encode()).digest()[0] % 3 == 0:
        raise RuntimeError("planted failure")
    return prefers_longer(messages, options)


def echoes(messages: Sequence[Message], options: None) -> str:
    """Writes the last line of the last message."""
    return messages[-1].content.splitlines()[-1]
