"""Value models: what return to expect from the state before each token of a completion."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.engines.learner.adapter import attach
from rlaif.engines.learner.network import init_head, load_classifier
from rlaif.engines.learner.packing import Packed, states
from rlaif.records.settings import Lora


class ValueModel(torch.nn.Module):
    """A body and a linear head with bias, one value a token.

    It starts as the reward model, `reward_bias` included, so that its value of a finished reply is about the score; or
    from a language model's body, with the head that a reward model would start from. With `lora` an adapter on
    the body is trained, and the head in full.
    """

    def __init__(self, reference: str, *, seed: int, gradient_checkpointing: bool, lora: Lora | None = None) -> None:
        super().__init__()
        model, bias, has_head = load_classifier(reference)
        if not has_head:
            init_head(model, seed)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.body = model.base_model
        if lora is not None:
            attach(self.body, lora, seed)
        self.head = torch.nn.Linear(model.score.in_features, 1)
        with torch.no_grad():
            self.head.weight.copy_(model.score.weight)
            self.head.bias.fill_(bias)

    def forward(self, rows: Packed) -> Tensor:
        """The value of the state before each completion token, (1, N)."""
        values_1N: Tensor = self.head(states(self.body, rows)).squeeze(-1).float()
        return values_1N


class ValueHead(torch.nn.Module):
    """A linear head with bias on another model's hidden states. It starts small, as a reward model's does (N+)."""

    def __init__(self, width: int, *, seed: int) -> None:
        super().__init__()
        self.score = torch.nn.Linear(width, 1)
        init_head(self, seed)

    def forward(self, hidden_1ND: Tensor) -> Tensor:
        """(1, N) of the states (1, N, D)."""
        values_1N: Tensor = self.score(hidden_1ND).squeeze(-1).float()
        return values_1N
