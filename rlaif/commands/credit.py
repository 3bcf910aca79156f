"""Where in the replies of pairs a reward model's score comes from, token by token: `rlaif reward-credit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation
from rlaif.ports.reporter import Reporter
from rlaif.records.inputs import read_pairs

WIDEST = 20  # characters of a bar; the largest credit of all has it


class Credits(NamedTuple):
    """A reply of a pair: its score is `base`, the value of the prompt, plus one credit for each token."""

    pair: str
    response: int  # 0 the first, 1 the second
    score: float
    base: float
    tokens: list[str]  # the last is the end of the sequence
    credits: list[float]


def credits(model: str, pairs: str, count: int, reporter: Reporter) -> list[Credits]:
    """The credits of both replies of the first `count` pairs.

    Raises:
        InputError: there is no such reward model, or the pairs are at fault.
    """
    asked = [(pair, response) for pair in read_pairs(pairs, count)[:count] for response in (0, 1)]
    engines = Engines(reporter)
    try:
        attribute = engines.learner("attributor", model=model)
        found = attribute([Conversation(pair.messages, pair.responses[response]) for pair, response in asked])
    finally:
        engines.close()
    return [
        Credits(pair.id, response, own.score, own.base, own.tokens, own.credits)
        for (pair, response), own in zip(asked, found, strict=True)
    ]


def describe(found: Sequence[Credits]) -> str:
    """One line a token: its credit, a bar to the left (worse) or right (better), and the token."""
    largest = max(abs(credit) for own in found for credit in own.credits)
    lines = []
    for own in found:
        side = ("first", "second")[own.response]
        lines.append(
            f"── {own.pair}, the {side} response: score {own.score:+.3f}, of which the prompt {own.base:+.3f} ──"
        )
        for token, credit in zip(own.tokens, own.credits, strict=True):
            width = round(WIDEST * abs(credit) / largest) if largest else 0
            worse, better = ("-" * width, "") if credit < 0 else ("", "+" * width)
            lines.append(f"{credit:+8.3f} {worse:>{WIDEST}}|{better:<{WIDEST}} {token!r}")
    return "\n".join(lines)
