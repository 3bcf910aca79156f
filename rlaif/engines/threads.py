"""How many CPU threads torch computes with."""

from __future__ import annotations

import torch


def use(count: int) -> None:
    """Compute with `count` threads, in training as in vLLM's CPU engine.

    Models of a few million parameters wait for a second thread more than it computes, and far more where cores are
    shared.
    """
    torch.set_num_threads(count)
