"""A critic of one's own: `words:thank-please` prefers the reply that says `thank` and `please` more often.

A real one would ask a model that rlaif has no engine for. What every critic owes stands in `rlaif/ports/chat.py`, and
`rlaif.testing.chat_contract.check(WordCritic("thank-please"))` checks it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from random import Random
from typing import Any

from rlaif.critique.readback import shown
from rlaif.ports import chat


class WordCritic:
    """See `rlaif.ports.chat.ChatModel`. A request that cannot be answered is a `Failure`, never a guess."""

    reading: chat.Reading = "logprobs"
    block = 256  # requests that it likes to be handed at once

    def __init__(self, model: str, **options: Any) -> None:
        self.spec = f"words:{model}"
        self.digest = hashlib.sha256(self.spec.encode()).hexdigest()  # another digest, and everything is asked again
        self._words = model.split("-")

    def option_logprobs(
        self, requests: Sequence[chat.OptionRequest], on_answer: chat.OnAnswer | None = None
    ) -> list[chat.OptionLogprobs | chat.Failure]:
        return [self._judge(request) for request in requests]

    def generate(
        self, requests: Sequence[chat.GenerateRequest], sampling: chat.Sampling, on_answer: chat.OnAnswer | None = None
    ) -> list[chat.Generation | chat.Failure]:
        seeds = [request.seed if sampling.temperature else 0 for request in requests]
        choices = [request.choices or self._words for request in requests]
        texts = [Random(seed).choice(own) for seed, own in zip(seeds, choices, strict=True)]
        return [chat.Generation(text, finished=True, tokens=1) for text in texts]

    def close(self) -> None:
        pass

    def _judge(self, request: chat.OptionRequest) -> chat.OptionLogprobs | chat.Failure:
        try:
            pair = shown(request.messages)
            count_a, count_b = (sum(text.lower().count(word) for word in self._words) for text in (pair.a, pair.b))
        except ValueError:  # no comparison of two replies: it has no opinion
            count_a = count_b = 0
        weights = {"A": math.exp(count_a), "B": math.exp(count_b)}
        asked = [weights.get(option, 1.0) for option in request.options]
        return chat.OptionLogprobs(tuple(math.log(weight / sum(asked)) for weight in asked))
