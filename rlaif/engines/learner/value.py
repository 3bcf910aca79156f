"""Value models: what return to expect from the state before each token of a completion."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.engines.learner.network import init_head, load_classifier
from rlaif.engines.learner.rows import Padded


class ValueModel(torch.nn.Module):
    """A body and a linear head with bias, one value a token.

    It starts as the reward model, `reward_bias` included, so that its value of a finished reply is about the score; or
    from a language model's body, with the head that a reward model would start from.
    """

    def __init__(self, reference: str, *, seed: int, gradient_checkpointing: bool) -> None:
        super().__init__()
        model, bias, has_head = load_classifier(reference)
        if not has_head:
            init_head(model, seed)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.body = model.base_model
        self.head = torch.nn.Linear(model.score.in_features, 1)
        with torch.no_grad():
            self.head.weight.copy_(model.score.weight)
            self.head.bias.fill_(bias)

    def forward(self, rows: Padded) -> Tensor:
        """The value of the state before each completion token, (B, C) as `rows.completion_BC`; elsewhere, anything."""
        C = rows.completion_BC.shape[1]
        hidden_BSD = self.body(**rows.inputs(), use_cache=False).last_hidden_state
        values_BC: Tensor = self.head(hidden_BSD[:, -C - 1 : -1]).squeeze(-1).float()
        return values_BC


class ValueHead(torch.nn.Module):
    """A linear head with bias on another model's hidden states. It starts small, as a reward model's does (N+)."""

    def __init__(self, width: int, *, seed: int) -> None:
        super().__init__()
        self.score = torch.nn.Linear(width, 1)
        init_head(self, seed)

    def forward(self, hidden_BCD: Tensor) -> Tensor:
        """(B, C) of the states (B, C, D)."""
        values_BC: Tensor = self.score(hidden_BCD).squeeze(-1).float()
        return values_BC
