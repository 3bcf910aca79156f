"""Keys and values of a batch that grows token by token, with room for more: transformers' own cache copies everything
that it holds for every token."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 32  # tokens that there is room for after a copy


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Of one layer. `keys` and `values` (B, H, T, D) are views of tensors that may be longer than T."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """See transformers: empty, of the shape, type and device of the first states."""
        super().lazy_initialization(key_states, value_states)
        self._all = [states[:, :, :0] for states in (key_states, value_states)]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """See transformers: append states, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before, new = self.get_seq_length(), (key_states, value_states)
        after = before + key_states.shape[2]
        if after > self._all[0].shape[2]:
            longer = [states.new_empty(*states.shape[:2], after + ROOM, states.shape[3]) for states in new]
            for room, old in zip(longer, self._all, strict=True):
                room[:, :, :before] = old[:, :, :before]
            self._all = longer
        for room, states in zip(self._all, new, strict=True):
            room[:, :, before:after] = states
        self.keys, self.values = (room[:, :, :after] for room in self._all)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """See transformers: go on with some rows."""
        length = self.get_seq_length()
        self._all = [room[indices] for room in self._all]
        self.keys, self.values = (room[:, :, :length] for room in self._all)


def roomy_cache() -> DynamicCache:
    """An empty one, for the forward pass of any model whose layers all attend."""
    cache = DynamicCache()
    cache.layer_class_to_replicate = RoomyLayer
    return cache
