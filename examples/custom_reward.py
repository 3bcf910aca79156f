"""Rewards of your own: Python functions, mixed with what the critic taught. Copy this file to where you run rlaif, then

    rlaif policy RUN.yaml --set 'policy.rewards=[{"kind": "model"},
        {"kind": "function", "function": "custom_reward:right_number", "weight": 2.0}]'

A function reads the conversation, one response, and what the prompt's row carries in `meta`, and returns a finite
number. Where it raises, or returns anything else, the run stops and names function, prompt and line: a failure is
never 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


def right_number(messages: Sequence[dict[str, str]], response: str, meta: dict[str, Any]) -> float:
    """A verifiable reward: 1 where the last number of the response is the answer, else 0.

    The prompts file has the answer in each row: {"id": "7", "prompt": "What is 6 times 7?", "meta": {"answer": 42}}.
    """
    numbers = re.findall(r"-?\d+(?:\.\d+)?", response)
    return float(bool(numbers) and float(numbers[-1]) == float(meta["answer"]))


def no_shouting(messages: Sequence[dict[str, str]], response: str, meta: dict[str, Any]) -> float:
    """A penalty: the share of letters that are capitals, beyond the quarter that any text may have."""
    letters = [letter for letter in response if letter.isalpha()]
    return -max(0.0, sum(letter.isupper() for letter in letters) / max(len(letters), 1) - 0.25)


def keeps_to_the_topic(messages: Sequence[dict[str, str]], response: str, meta: dict[str, Any]) -> float:
    """How many of the question's longer words the response takes up, from 0 to 1."""
    asked = set(re.findall(r"\w{5,}", messages[-1]["content"].lower()))
    said = set(re.findall(r"\w{5,}", response.lower()))
    return len(asked & said) / max(len(asked), 1)
