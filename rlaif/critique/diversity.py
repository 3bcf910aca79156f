"""METEOR between replies to different prompts: how alike a policy's replies are, whatever it is asked.

A policy that found out what its reward model likes says it to everybody. The SuperHF paper (arXiv 2310.16763) measures
that with METEOR (Banerjee and Lavie 2005, aclanthology.org/W05-0909; here in the form and with the defaults of NLTK:
alpha 0.9, beta 3, gamma 0.5), which sees through changes of order and ending that exact n-grams do not.

For m matched words in c chunks, of a reply of h words against one of r: precision m/h, recall m/r,
F = P R / (alpha P + (1 - alpha) R), score = F (1 - gamma (c / m)^beta). Identical texts come close to 1 and do not
reach it, because they are one chunk.

Words are what white space separates, in lower case: text in a script without spaces is one word, and tells nothing.
NLTK aligns greedily from the end, stage by stage, and does not look for the alignment with the fewest chunks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import Any

from rlaif.records.report import Similarity

EXACT_AND_STEM = ("exact", "stem")


class NoSynonyms:
    """Stands in where WordNet's data is not: no word has a synonym."""

    def synsets(self, word: str) -> list[Any]:
        return []


def across_prompts(replies: Sequence[str], pairs: int, seed: int) -> Similarity | None:
    """Mean METEOR of random pairs of replies, each pair in both directions; None of fewer than two replies.

    Args:
        replies: one for each prompt, so that any two are replies to different prompts.
        pairs: how many different pairs are drawn; all of them where there are no more.
    """
    possible = math.comb(len(replies), 2)
    if not possible:
        return None
    drawn = random.Random(seed).sample(range(possible), min(pairs, possible))
    texts = [(replies[i], replies[j]) for i, j in map(_pair, drawn)]
    return Similarity(
        value=fmean((meteor(a, b) + meteor(b, a)) / 2 for a, b in texts), pairs=len(texts), stages=list(stages())
    )


def meteor(reply: str, reference: str) -> float:
    """METEOR of a text against another, 0 to 1; 0 where they share no word."""
    from nltk.translate.meteor_score import single_meteor_score

    score: float = single_meteor_score(reference.split(), reply.split(), wordnet=_synonyms())
    return score


def stages() -> tuple[str, ...]:
    """How words are matched here: as they stand, then by Porter's stem, then as synonyms where WordNet's data is."""
    return EXACT_AND_STEM if isinstance(_synonyms(), NoSynonyms) else (*EXACT_AND_STEM, "synonym")


@cache
def _synonyms() -> Any:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return NoSynonyms()
    return wordnet


def _pair(rank: int) -> tuple[int, int]:
    """The pair of that rank among (0, 1), (0, 2), (1, 2), (0, 3) and so on."""
    second = (1 + math.isqrt(1 + 8 * rank)) // 2
    return rank - second * (second - 1) // 2, second
