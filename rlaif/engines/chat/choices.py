"""Replies that are held to choices, drawn where the options' log-probabilities are known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from rlaif.ports.chat import GenerateRequest, Generation


def drawn(request: GenerateRequest, logprobs: Sequence[float], temperature: float) -> Generation:
    """One of the choices, by the request's seed; at temperature 0 the likeliest."""
    if temperature == 0:
        return Generation(request.choices[max(range(len(logprobs)), key=logprobs.__getitem__)], finished=True, tokens=1)
    highest = max(logprobs)
    weights = [math.exp((value - highest) / temperature) for value in logprobs]
    text = random.Random(request.seed).choices(request.choices, weights)[0]
    return Generation(text, finished=True, tokens=1)
