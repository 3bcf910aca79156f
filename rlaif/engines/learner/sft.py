"""Supervised fine-tuning of a causal language model on replies.

The loss is the mean cross-entropy over all reply tokens of the minibatch, EOS included: a mean over tokens, not a mean
of the rows' means, so that short replies do not weigh more per token, and micro-batches change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rlaif.engines.learner.adapter import attach
from rlaif.engines.learner.likelihood import completion_logprobs
from rlaif.engines.learner.network import load_causal, place, save_model
from rlaif.engines.learner.optimiser import Trained, take_step
from rlaif.engines.learner.packing import Packed
from rlaif.engines.learner.rows import RowReader, TokenRow, groups, parts
from rlaif.ports.learner import Conversation, Optimisation
from rlaif.ports.processes import ALONE, Processes
from rlaif.records.errors import NotFinite


class Loss(NamedTuple):
    """A micro-batch's share of the minibatch's loss."""

    total: Tensor
    stats: dict[str, Tensor]


class HfSft:
    """An `SftLearner` over transformers.

    Args:
        model: folder, Hub name or shipped model to start from.
        seed: of the adapter, where one is trained.
        dtype: "auto" (float32 on a CPU, bfloat16 autocast on a GPU), "float32" or "bfloat16".
    """

    def __init__(
        self,
        model: str,
        *,
        optimisation: Optimisation,
        seed: int = 0,
        dtype: str = "auto",
        processes: Processes = ALONE,
    ) -> None:
        self._reader = RowReader(model)
        self._placement = place(dtype)
        loaded = self._placement.put(load_causal(model), gradient_checkpointing=optimisation.gradient_checkpointing)
        if optimisation.lora is not None:
            attach(loaded, optimisation.lora, seed)
        self._network = Trained(loaded, optimisation, processes)
        self._micro_batch = optimisation.micro_batch

    @property
    def truncated(self) -> int:
        """See `SftLearner`."""
        return self._reader.truncated

    def step(self, rows: Sequence[Conversation]) -> dict[str, float]:
        """One optimiser step. Returns loss (nats a token), tokens, grad_norm and learning_rate.

        Raises:
            NotFinite: the loss or the gradient is not finite; the weights are unchanged.
        """
        read = [self._reader.read(row) for row in rows]
        own = parts([len(row.ids) for row in read], self._micro_batch, self._network.processes)
        return take_step({"": self._network}, own, partial(self._loss, read))

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Conversation]) -> dict[str, float]:
        """The loss on rows that are not trained on.

        Raises:
            NotFinite: it is not finite.
        """
        read = [self._reader.read(row) for row in rows]
        index = groups([len(row.ids) for row in read], self._micro_batch)
        loss = sum(float(self._loss(read, part).total) for part in index)
        if not loss < float("inf"):
            raise NotFinite(f"the loss on held-out rows is {loss}", "the loss on held-out rows")
        return {"loss": loss}

    def save(self, folder: Path) -> None:
        """Write an ordinary model folder (float32)."""
        if self._network.processes.rank == 0:
            save_model(folder, self._network.model, self._reader.tokenizer)

    def _loss(self, rows: Sequence[TokenRow], index: Sequence[int]) -> Loss:
        tokens = sum(len(row.completion) for row in rows)
        part = Packed.of([rows[i] for i in index], self._placement.device)
        with self._placement.autocast():
            logprobs_1N = completion_logprobs(self._network.network, part, temperature=1.0)
        total = -logprobs_1N.sum() / tokens
        return Loss(total, {"loss": total.detach(), "tokens": part.keep_1N.sum()})
