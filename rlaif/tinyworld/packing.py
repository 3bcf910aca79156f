"""Several prompts with one beginning, packed into one row: the beginning is read once.

Every part (the rest of a prompt, and its answer) attends to the shared beginning and to itself, at the positions that
it would have alone. So a packed row is exactly as many separate prompts, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import LlamaForCausalLM

BEGINNING, PADDING = 0, -1
NONE = -100  # what cross_entropy ignores


class Row(NamedTuple):
    """The tokens of a shared beginning, and of every part's (rest of the prompt, answer)."""

    shared: Sequence[int]
    parts: Sequence[tuple[Sequence[int], Sequence[int]]]

    @property
    def size(self) -> int:
        """Tokens in all; the last of an answer is only predicted, never read."""
        return len(self.shared) + sum(len(prompt) + len(answer) - 1 for prompt, answer in self.parts)


class Batch(NamedTuple):
    """R rows padded on the right to one length T; M tokens of answers in all."""

    ids_RT: torch.Tensor
    positions_RT: torch.Tensor
    allowed_R1TT: torch.Tensor  # True where the query (third axis) attends to the key (fourth)
    answered_M2: torch.Tensor  # (row, position) of the tokens before each token of an answer, in the order of the rows
    answers_M: torch.Tensor
    previous_RT: torch.Tensor  # the token before each token, or NONE


def collate(rows: Sequence[Row]) -> Batch:
    """Pad rows to one length and build their attention mask; padding attends to padding only."""
    longest = max(row.size for row in rows)
    ids, positions, segments, answered = [], [], [], []
    answers: list[int] = []
    previous: list[list[int]] = []
    for r, row in enumerate(rows):
        tokens, numbers = list(row.shared), list(range(len(row.shared)))
        segment = [BEGINNING] * len(row.shared)
        before = [NONE, *row.shared[:-1]] if row.shared else []
        for k, (prompt, answer) in enumerate(row.parts, start=1):
            start, size = len(tokens), len(prompt) + len(answer) - 1
            answered += [(r, start + len(prompt) - 1 + i) for i in range(len(answer))]
            answers += answer
            tokens += [*prompt, *answer[:-1]]
            before += [row.shared[-1] if row.shared else NONE, *tokens[start:-1]]
            numbers += range(len(row.shared), len(row.shared) + size)
            segment += [k] * size
        rest = longest - len(tokens)
        ids.append(tokens + [0] * rest)
        previous.append(before + [NONE] * rest)
        positions.append(numbers + [0] * rest)
        segments.append(segment + [PADDING] * rest)
    segments_RT = torch.tensor(segments)
    same_RTT = segments_RT[:, :, None] == segments_RT[:, None, :]
    shared_RTT = (segments_RT[:, None, :] == BEGINNING) & (segments_RT[:, :, None] != PADDING)
    causal_TT = torch.ones(longest, longest, dtype=torch.bool).tril()
    return Batch(
        ids_RT=torch.tensor(ids),
        positions_RT=torch.tensor(positions),
        allowed_R1TT=((same_RTT | shared_RTT) & causal_TT)[:, None],
        answered_M2=torch.tensor(answered),
        answers_M=torch.tensor(answers),
        previous_RT=torch.tensor(previous),
    )


def hidden(model: LlamaForCausalLM, batch: Batch) -> tuple[torch.Tensor, ...]:
    """The hidden states of a batch: the embeddings and every layer's, the last one normalised, each (R, T, D)."""
    states: tuple[torch.Tensor, ...] = model.model(
        input_ids=batch.ids_RT,
        attention_mask=batch.allowed_R1TT,
        position_ids=batch.positions_RT,
        use_cache=False,
        output_hidden_states=True,
    ).hidden_states
    return states
