"""One optimiser step on a minibatch that is worked through in micro-batches, for every learner.

Settings of the literature (ALGORITHMS §5, from arXiv 2403.17031): AdamW with epsilon 1e-5, because PyTorch's early
steps at 1e-8 are far larger than those of the TF1 Adam that PPO for language models was tuned with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from rlaif.batches import merge_stats
from rlaif.ports.learner import Optimisation
from rlaif.records.errors import RunHalted

EPSILON = 1e-5


class Loss(Protocol):
    """A micro-batch's share of the loss of its minibatch: `total` is differentiated, `stats` add up."""

    @property
    def total(self) -> Tensor: ...

    @property
    def stats(self) -> dict[str, Tensor]: ...


class Trained:
    """A network with its AdamW and its schedule.

    Weight decay is for matrices: decay on norms and biases pulls them away from where the network needs them.
    """

    def __init__(self, model: torch.nn.Module, settings: Optimisation) -> None:
        self.model = model
        self.steps = 0
        self._settings = settings
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self._parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in self._parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(groups, lr=settings.learning_rate, eps=EPSILON, fused=True)

    @property
    def learning_rate(self) -> float:
        """Of the next step: linear warm-up, then linear decay to 0 at `total_steps` (0: no decay). A run shorter than
        its warm-up never reaches the full rate."""
        s = self._settings
        warm = (self.steps + 1) / s.warmup_steps if s.warmup_steps else 1.0
        left = (s.total_steps - self.steps) / max(1, s.total_steps - s.warmup_steps) if s.total_steps else 1.0
        return s.learning_rate * max(0.0, min(1.0, warm, left))

    def clear(self) -> None:
        """Forget gradients."""
        self._adam.zero_grad(set_to_none=True)

    def clip(self) -> float:
        """Clip the gradient to the norm that the settings allow, and return its norm before that.

        Raises:
            RunHalted: it is NaN or infinite. No weight has been changed.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.gradient_clip))
        if not math.isfinite(norm):
            raise RunHalted(f"the gradient's norm is {norm} at optimiser step {self.steps + 1}; weights are unchanged")
        return norm

    def apply(self) -> None:
        """Take the step."""
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate
        self._adam.step()
        self.steps += 1

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {"model": self.model.state_dict(), "adam": self._adam.state_dict(), "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.model.load_state_dict(state["model"], strict=True)
        self._adam.load_state_dict(state["adam"])
        self.steps = int(state["steps"])


def take_step(networks: Mapping[str, Trained], losses: Iterator[Loss]) -> dict[str, float]:
    """One optimiser step of each network on the sum of `losses`, which are computed one at a time.

    Returns:
        The losses' stats, and for each network `grad_norm` (before clipping) and `learning_rate` under its prefix, the
        networks' key.

    Raises:
        RunHalted: a stat, the loss or a gradient is NaN or infinite. No network has been changed.
    """
    for network in networks.values():
        network.clear()
    parts = []
    total = 0.0
    for loss in losses:
        loss.total.backward()  # type: ignore[no-untyped-call]
        total += float(loss.total.detach())
        parts.append(loss.stats)
    stats = merge_stats(parts)
    for name, value in {**stats, "the loss": total}.items():
        if not math.isfinite(value):
            raise RunHalted(f"{name} is {value} in training; weights are unchanged")
    for prefix, network in networks.items():
        stats[f"{prefix}grad_norm"] = network.clip()
        stats[f"{prefix}learning_rate"] = network.learning_rate
    for network in networks.values():  # only now, when every one of them may
        network.apply()
    return stats
