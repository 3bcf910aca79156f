"""The shape of the world's models, and the optimiser and schedule that all of them are trained with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from rlaif.tinyworld.tokenizer import MAX_LENGTH, VOCABULARY

HEAD_WIDTH = 32
WARMUP_STEPS = 30
DECAY_SHARE = 0.4


class Shape(NamedTuple):
    """The size of a model."""

    width: int
    layers: int
    feed_forward: int
    tied: bool


def llama(shape: Shape) -> LlamaForCausalLM:
    """A new model of the given shape."""
    heads = shape.width // HEAD_WIDTH
    return LlamaForCausalLM(  # type: ignore[no-untyped-call]
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=shape.width,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=shape.tied,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.04,
        )
    )


class Optimiser:
    """Muon on the hidden matrices, AdamW on everything else, warm-up and a linear decay at the end.

    Args:
        model: its hidden matrices go to Muon.
        extra: parameters outside the model (auxiliary heads).
        steps: the number of steps that will be taken.
    """

    def __init__(self, model: LlamaForCausalLM, extra: Iterable[nn.Parameter], steps: int) -> None:
        hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        chosen = {id(p) for p in hidden}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        self.parameters = [*hidden, *rest, *extra]
        self.steps = steps
        self.taken = 0
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(hidden, lr=0.02, weight_decay=0.1, ns_steps=5),
            torch.optim.AdamW(self.parameters[len(hidden) :], lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.base_rates = [o.param_groups[0]["lr"] for o in self.optimisers]

    def step(self, loss: torch.Tensor) -> None:
        """One step down the gradient of `loss`, clipped to norm 1."""
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        left = 1.0 - self.taken / self.steps
        factor = min(1.0, (self.taken + 1) / WARMUP_STEPS, left / DECAY_SHARE)
        for optimiser, rate in zip(self.optimisers, self.base_rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad()
        self.taken += 1
