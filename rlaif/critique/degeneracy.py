"""Signs of degenerate text, on plain strings: how varied replies are, and how much each repeats itself."""

from __future__ import annotations

from collections.abc import Sequence


def distinct(replies: Sequence[str]) -> float:
    """Share of different replies; 1 is best. A collapsed policy says the same to everybody."""
    return len(set(replies)) / len(replies)


def distinct_n(replies: Sequence[str], n: int) -> float:
    """Different word n-grams over all word n-grams of all replies (Li et al. 2016, arXiv 1510.03055 §5); 0 if none."""
    grams = [tuple(words[i : i + n]) for r in replies for words in [r.split()] for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def longest_repeat(reply: str) -> int:
    """Length, in words, of the longest word sequence that occurs twice in the reply (occurrences may overlap)."""
    words = reply.split()
    best = 0
    for length in range(1, len(words)):
        grams = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
        if len(set(grams)) == len(grams):
            break
        best = length
    return best
