"""Supervised fine-tuning of a causal language model on replies.

The loss is the mean cross-entropy over all reply tokens of the minibatch, EOS included: a mean over tokens, not a mean
of the rows' means, so that short replies do not weigh more per token, and micro-batches change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rlaif.engines.learner.likelihood import completion_logprobs
from rlaif.engines.learner.network import load_causal, place, save_model
from rlaif.engines.learner.optimiser import Trained, take_step
from rlaif.engines.learner.rows import Padded, RowReader, groups
from rlaif.ports.learner import Conversation, Optimisation
from rlaif.records.errors import RunHalted


class Loss(NamedTuple):
    """A micro-batch's share of the minibatch's loss."""

    total: Tensor
    stats: dict[str, Tensor]


class HfSft:
    """An `SftLearner` over transformers.

    Args:
        model: folder, Hub name or shipped model to start from.
        dtype: "auto" (float32 on a CPU, bfloat16 autocast on a GPU), "float32" or "bfloat16".
        gradient_checkpointing: less memory, a third more computing, the same numbers.
    """

    def __init__(
        self, model: str, *, optimisation: Optimisation, dtype: str = "auto", gradient_checkpointing: bool = False
    ) -> None:
        self._reader = RowReader(model)
        self._placement = place(dtype)
        loaded = self._placement.put(load_causal(model), gradient_checkpointing=gradient_checkpointing)
        self._network = Trained(loaded, optimisation)
        self._micro_batch = optimisation.micro_batch

    @property
    def truncated(self) -> int:
        """See `SftLearner`."""
        return self._reader.truncated

    def step(self, rows: Sequence[Conversation]) -> dict[str, float]:
        """One optimiser step. Returns loss (nats a token), tokens, grad_norm and learning_rate.

        Raises:
            RunHalted: the loss or the gradient is not finite; the weights are unchanged.
        """
        return take_step({"": self._network}, self._losses(rows))

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Conversation]) -> dict[str, float]:
        """The loss on rows that are not trained on.

        Raises:
            RunHalted: it is not finite.
        """
        loss = sum(float(part.total) for part in self._losses(rows))
        if not loss < float("inf"):
            raise RunHalted(f"the loss on held-out rows is {loss}")
        return {"loss": loss}

    def save(self, folder: Path) -> None:
        """Write an ordinary model folder (float32)."""
        save_model(folder, self._network.model, self._reader.tokenizer)

    def _losses(self, conversations: Sequence[Conversation]) -> Iterator[Loss]:
        rows = [self._reader.read(c) for c in conversations]
        tokens = sum(len(row.completion) for row in rows)
        for index in groups([len(row.ids) for row in rows], self._micro_batch):
            part = Padded.of([rows[i] for i in index], self._placement.device)
            with self._placement.autocast():
                logprobs_BC = completion_logprobs(self._network.model, part, temperature=1.0)
            total = -logprobs_BC.sum() / tokens
            yield Loss(total, {"loss": total.detach(), "tokens": part.completion_BC.sum()})
