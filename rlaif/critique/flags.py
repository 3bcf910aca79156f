"""Marks pairs that a person should look at: text that talks to the judge, forged fences, control tokens, empty replies.

A flag changes no label. These are plain patterns; they find the careless attack, not the careful one.
"""

from __future__ import annotations

import re

from rlaif.records.pair import Pair

PATTERNS = {
    "control-token": re.compile(r"<\|[^|>\n]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>"),
    "forged-fence": re.compile(r"^\[[0-9a-f]{8}\] ", re.MULTILINE),
    "talks-to-judge": re.compile(
        r"\b(?i:answer|choose|pick|select|prefer|output)\b[^.\n]{0,30}\b(?i:response |option )?"
        r"[\"'(]?[AB][\"')]?(?=[\s.!,]|$)"
        r"|\b(?i:ignore|disregard)\b[^.\n]{0,40}\b(?i:principle|instruction|criteria|rubric)"
        r"|\b(?i:dear|note to(?: the)?) (?i:judge|evaluator|grader)\b"
    ),
}


def flags_of(pair: Pair) -> list[str]:
    """The names of what was found in either response, sorted."""
    found = {name for name, pattern in PATTERNS.items() if any(pattern.search(r) for r in pair.responses)}
    if any(not r.strip() for r in pair.responses):
        found.add("empty-response")
    if pair.responses[0] == pair.responses[1]:
        found.add("identical-responses")
    return sorted(found)
