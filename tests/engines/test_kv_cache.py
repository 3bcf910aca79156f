"""The cache with room holds what transformers' own holds, through growth and the leaving of rows."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from rlaif.engines.kv_cache import ROOM, roomy_cache


def test_it_returns_what_the_cache_of_transformers_returns() -> None:
    ours, theirs = roomy_cache(), DynamicCache()
    draws, rows = torch.Generator().manual_seed(0), 4
    for step, new in enumerate([7, *[1] * (2 * ROOM + 3)]):
        if step in (5, ROOM + 1):  # within the room that is left, and right after a copy
            staying = torch.arange(rows - 1, 0, -1)
            ours.batch_select_indices(staying)
            theirs.batch_select_indices(staying)
            rows = len(staying)
        for layer in range(2):
            keys, values = torch.randn(2, rows, 3, new, 5, generator=draws)
            for mine, own in zip(ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True):
                assert torch.equal(mine, own), (step, layer)
        assert ours.get_seq_length() == theirs.get_seq_length() == 7 + step


def test_states_are_copied_once_in_a_while_alone() -> None:
    cache, copies, before = roomy_cache(), 0, 0
    for _ in range(3 * ROOM):
        keys, _ = cache.update(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2), 0)
        copies += keys.untyped_storage().data_ptr() != before
        before = keys.untyped_storage().data_ptr()
    assert copies == 3
