"""A dialogue as one text, so that a critic can judge it whole: what a model replied, turn by turn, and what it was told
in between. The user's first words stand before it, as the conversation that both dialogues share."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.records.prompt import Message

SPEAKERS = {"en": ("Human: ", "Assistant: "), "zh": ("用户：", "助手：")}


def whole(replies: Sequence[str], turns: Sequence[str], language: str) -> str:
    """The first reply, and after it each further turn with its reply.

    Args:
        turns: what the user says after each reply but the last.
    """
    user, assistant = SPEAKERS[language]
    rest = [f"{user}{turn}\n\n{assistant}{reply}" for turn, reply in zip(turns, replies[1:], strict=True)]
    return "\n\n".join([replies[0], *rest])


def so_far(first: Sequence[Message], replies: Sequence[str], turns: Sequence[str]) -> list[Message]:
    """The conversation that the next reply answers: all replies so far, each with the turn that follows it."""
    said = [*first]
    for reply, turn in zip(replies, turns[: len(replies)], strict=True):
        said += [Message(role="assistant", content=reply), Message(role="user", content=turn)]
    return said
