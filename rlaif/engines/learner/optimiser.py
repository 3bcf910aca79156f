"""One optimiser step on a minibatch that is worked through in micro-batches, for every learner.

Settings of the literature (ALGORITHMS §5, from arXiv 2403.17031): AdamW with epsilon 1e-5, because PyTorch's early
steps at 1e-8 are far larger than those of the TF1 Adam that PPO for language models was tuned with.

Several processes work through parts of the same minibatch. A loss is a share of the minibatch's, so that gradients add
up over processes as they do over micro-batches, and the step is the one that a single process takes, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from rlaif.batches import merge_stats
from rlaif.engines.learner.rows import Part
from rlaif.ports.learner import Optimisation
from rlaif.ports.processes import ALONE, Processes
from rlaif.records.errors import NotFinite

EPSILON = 1e-5
LOSS = "the loss"  # what is differentiated, among the stats


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

    def __init__(self, model: torch.nn.Module, settings: Optimisation, processes: Processes = ALONE) -> None:
        self.model = model
        self.processes = processes
        self.steps = 0
        self._settings = settings
        parameters = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._adam: Any = torch.optim.AdamW(groups, lr=settings.learning_rate, eps=EPSILON, fused=True)
        self._shared: Any = model
        if processes.accelerator is not None:
            self._shared, self._adam = processes.accelerator.prepare(model, self._adam)
        self._parameters = [p for p in self._shared.parameters() if p.requires_grad]

    @property
    def network(self) -> Any:
        """What forward passes go through: with gradients, that which adds them up over processes."""
        return self._shared if torch.is_grad_enabled() else self.model

    def apart(self) -> AbstractContextManager[object]:
        """Passes inside keep their gradients in this process until a pass outside adds them up."""
        accelerator = self.processes.accelerator
        return nullcontext() if accelerator is None else accelerator.no_sync(self._shared)

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

    def clip(self, prefix: str) -> float:
        """Clip the gradient to the norm that the settings allow, and return its norm before that.

        Args:
            prefix: tells this network's weights from those of others in a message.

        Raises:
            NotFinite: it is NaN or infinite. No weight has been changed.
        """
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(norm.isfinite()):  # found out before clipping, which would make NaN of every gradient
            named = [(f"{prefix}{name}", p.grad) for name, p in self.model.named_parameters() if p.grad is not None]
            where = f"at optimiser step {self.steps + 1}"
            require_all_finite("the gradient of {}", named, f"{where}; weights are unchanged")
            raise NotFinite(f"{prefix}grad_norm is {float(norm)} {where}; weights are unchanged", f"{prefix}grad_norm")
        torch.nn.utils.clip_grads_with_norm_(self._parameters, self._settings.gradient_clip, norm)
        return float(norm)

    def apply(self) -> None:
        """Take the step."""
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate
        self._adam.step()
        self.steps += 1

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on and that the start does not hold: what is frozen is left out.

        Raises:
            NotFinite: a weight or a moment of Adam is NaN or infinite.
        """
        frozen = self._frozen()
        trained = {name: tensor for name, tensor in self.model.state_dict().items() if name not in frozen}
        names = {parameter: name for name, parameter in self.model.named_parameters() if name not in frozen}
        moments = [
            (f"{key} of {names[p]}", tensor)
            for p, slot in self._adam.state.items()
            for key, tensor in slot.items()
            if isinstance(tensor, Tensor)
        ]
        after = f"after optimiser step {self.steps}"
        require_all_finite("the weight {}", ((name, p.detach()) for p, name in names.items()), after)
        require_all_finite("Adam's {}", moments, after)
        return {"model": trained, "adam": self._adam.state_dict(), "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            RuntimeError, ValueError: it is of another network.
        """
        missing, unknown = self.model.load_state_dict(state["model"], strict=False)
        if unknown or set(missing) != self._frozen():
            raise ValueError("it does not hold the weights that are trained here")
        self._adam.load_state_dict(state["adam"])
        self.steps = int(state["steps"])

    def _frozen(self) -> set[str]:
        """Names of the weights that are not trained, in every spelling where some are tied."""
        return {name for name, p in self.model.named_parameters(remove_duplicate=False) if not p.requires_grad}


def require_all_finite(what: str, tensors: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Halt if any tensor has an entry that is NaN or infinite.

    Args:
        what: they are, with `{}` for the name of one, such as "the weight {}".
        where: ends the message.

    Raises:
        NotFinite: names the first one, and counts the others.
    """
    bad = [(name, tensor) for name, tensor in tensors if not bool(tensor.isfinite().all())]
    if bad:
        name, tensor = bad[0]
        entries = int((~tensor.isfinite()).sum())
        others = f", as {len(bad) - 1} others have" if len(bad) > 1 else ""
        message = f"{what.format(name)} has {entries} of {tensor.numel()} entries NaN or infinite{others} {where}"
        raise NotFinite(message, what.format(name), tensor.detach().cpu())


def take_step(
    networks: Mapping[str, Trained], parts: Sequence[Part], loss_of: Callable[[list[int]], Loss]
) -> dict[str, float]:
    """One optimiser step of each network on the sum of the losses of all parts, of every process.

    Args:
        parts: of this process, as `rows.parts` makes them.
        loss_of: computes the loss of a part's rows.

    Returns:
        The losses' stats, and for each network `grad_norm` (before clipping) and `learning_rate` under its prefix, the
        networks' key.

    Raises:
        NotFinite: a stat, the loss or a gradient is NaN or infinite, in any process. No network has been changed.
    """
    for network in networks.values():
        network.clear()
    processes = next(iter(networks.values())).processes
    everyone = processes.gather(_backward(networks, parts, loss_of, processes))
    for name, value in (item for stats in everyone for item in stats.items()):
        if not math.isfinite(value):
            raise NotFinite(f"{name} is {value} in training; weights are unchanged", name)
    stats = _merged(everyone)
    del stats[LOSS]
    for prefix, network in networks.items():
        stats[f"{prefix}grad_norm"] = network.clip(prefix)
        stats[f"{prefix}learning_rate"] = network.learning_rate
    for network in networks.values():  # only now, when every one of them may
        network.apply()
    return stats


def _backward(
    networks: Mapping[str, Trained],
    parts: Sequence[Part],
    loss_of: Callable[[list[int]], Loss],
    processes: Processes,
) -> dict[str, float]:
    """Leave the gradients of all processes' parts in the networks; the stats and the loss of this one's."""
    stats, total = [], 0.0
    for number, part in enumerate(parts, start=1):
        with ExitStack() as kept:
            if number < len(parts):
                for network in networks.values():
                    kept.enter_context(network.apart())
            loss = loss_of(part.rows)
            processes.gather(None)  # a process that cannot go on says so here, before others wait for its gradients
            # Gradients are averaged over processes, and shares have to add up.
            (loss.total * (processes.size if part.counts else 0)).backward()  # type: ignore[no-untyped-call]
        if part.counts:
            stats.append(loss.stats)
            total += float(loss.total.detach())
    return {**merge_stats(stats), LOSS: total} if stats else {}


def _merged(everyone: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Stats of all processes together, as `merge_stats` does it; one may have none."""
    known = [stats for stats in everyone if stats]
    return {name: (max if name.endswith("_max") else sum)(s[name] for s in known) for name in known[0]}
