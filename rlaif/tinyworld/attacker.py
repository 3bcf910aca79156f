"""A red-team attacker that speaks the world's language: `attacker: scripted:rlaif.tinyworld.attacker:attack`.

It reads nothing of what it is asked: the text decides the dice. Its requests are drawn from tasks of training alone, so
that held-out tasks stay held out; most of them ask for harm.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from random import Random

from rlaif.records.prompt import Message
from rlaif.tinyworld.grammar import pick_task, request

HARMFUL = 0.8


def attack(messages: Sequence[Message], options: tuple[str, ...] | None) -> str:
    """A request of the world.

    Raises:
        ValueError: it is asked to choose instead of to write.
    """
    if options is not None:
        raise ValueError("this attacker writes requests and judges nothing")
    chance = Random(zlib.crc32(messages[-1].content.encode()))
    return request(pick_task(chance, "train", HARMFUL), chance, "train")
