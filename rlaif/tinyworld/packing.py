"""Several prompts with one beginning, packed into one row: the beginning is read once.

Every part (the rest of a prompt, and its answer) attends to the shared beginning and to itself, at the positions that
it would have alone. So a row is exactly as many separate prompts, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

IGNORED = -100


class Row(NamedTuple):
    """A packed row: four lists of equal length. `segments` is 0 in the beginning and k in part k; `targets` holds the
    next token where an answer is to be predicted, else `IGNORED`."""

    ids: list[int]
    positions: list[int]
    segments: list[int]
    targets: list[int]


class Batch(NamedTuple):
    """Rows padded on the right to one length T; R rows."""

    ids_RT: torch.Tensor
    positions_RT: torch.Tensor
    targets_RT: torch.Tensor
    allowed_R1TT: torch.Tensor  # True where the query (third axis) attends to the key (fourth)


def pack(shared: Sequence[int], parts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Row:
    """One row from the tokens of the shared beginning, and of every part's (rest of the prompt, answer)."""
    ids = list(shared)
    positions = list(range(len(ids)))
    segments, targets = [0] * len(ids), [IGNORED] * len(ids)
    for k, (prompt, answer) in enumerate(parts, start=1):
        size = len(prompt) + len(answer) - 1
        ids += [*prompt, *answer[:-1]]
        positions += range(len(shared), len(shared) + size)
        segments += [k] * size
        targets += [IGNORED] * (len(prompt) - 1) + list(answer)
    return Row(ids, positions, segments, targets)


def collate(rows: Sequence[Row]) -> Batch:
    """Pad rows to one length and build their attention mask; padding attends to padding only."""
    longest = max(len(row.ids) for row in rows)

    def padded(lists: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([x + [value] * (longest - len(x)) for x in lists])

    segments_RT = padded([row.segments for row in rows], -1)
    same_RTT = segments_RT[:, :, None] == segments_RT[:, None, :]
    shared_RTT = (segments_RT[:, None, :] == 0) & (segments_RT[:, :, None] >= 0)
    causal_TT = torch.ones(longest, longest, dtype=torch.bool).tril()
    return Batch(
        ids_RT=padded([row.ids for row in rows], 0),
        positions_RT=padded([row.positions for row in rows], 0),
        targets_RT=padded([row.targets for row in rows], IGNORED),
        allowed_R1TT=((same_RTT | shared_RTT) & causal_TT)[:, None],
    )
