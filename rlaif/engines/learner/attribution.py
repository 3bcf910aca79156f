"""Where in a reply a reward model's score comes from, token by token.

A causal model with a linear head says a number at every position, not only at the last: the score that the reply would
have if it were read there. What a token is given is by how much that number changes when the token is read:

    credit_t = V(prompt, reply_1..t) - V(prompt, reply_1..t-1)

The credits of all tokens, EOS included, and `base`, which is V(prompt), add up to the score: exactly, whatever the
model, and in one forward pass. As a dense reward without discount they are potential-based shaping (Ng, Harada and
Russell 1999): they add up to the score less a constant of the prompt, and leave the best policy what it was.

Limits. The head was trained at the last token of finished replies alone, so V of a prefix is an extrapolation: read
signs and sizes, not digits. Credit goes to the token at which the model changes its mind, which may be later than the
word that is to blame; in particular EOS gets what the model adds on seeing that the reply ends, which can be much.

Chosen over integrated gradients (Sundararajan et al. 2017), which see interactions in both directions, but take tens of
forward and backward passes, add up only approximately, and depend on a baseline input that no tokenizer has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch

from rlaif.engines.learner.reward import HfRewardScorer
from rlaif.ports.learner import Conversation


class Attribution(NamedTuple):
    """A reply's score as `base` plus the sum of `credits`; one credit for each of `tokens`, the last one EOS.

    tokens: the reply's tokens as text. Parts of one character may be unreadable alone.
    """

    score: float
    base: float
    tokens: list[str]
    credits: list[float]


def attributor(model: str) -> Callable[[Sequence[Conversation]], list[Attribution]]:
    """`attribute` by the reward model of a folder; of an ensemble, by its first member.

    Raises:
        InputError: there is no such reward model.
    """
    return partial(attribute, HfRewardScorer(model))


@torch.no_grad()
def attribute(scorer: HfRewardScorer, rows: Sequence[Conversation]) -> list[Attribution]:
    """The attribution of each reply's score.

    Raises:
        RunHalted: a value is NaN or infinite.
    """
    found = []
    for row in rows:
        read, values_S = scorer.values(row)
        reply = values_S[len(read.prompt) - 1 :]
        texts = [str(scorer.tokenizer.decode([token])) for token in read.completion]
        found.append(Attribution(float(reply[-1]), float(reply[0]), texts, reply.diff().tolist()))
    return found
