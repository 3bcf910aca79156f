"""Log-probabilities of replies under a causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif.engines.learner.network import load_causal, place
from rlaif.engines.learner.rows import Padded, RowReader, groups
from rlaif.formulas.logprobs import of_tokens
from rlaif.ports.learner import Conversation


def completion_logits(model: Any, rows: Padded) -> Tensor:
    """The logits that predict each of the last C columns of tokens, (B, C, V): already shifted by one.

    They are computed where there are completions, by the model's own forward pass, so that what some architectures do
    to them (soft caps, scales) is not lost.
    """
    return states_and_logits(model, rows, states=False)[1]


def states_and_logits(model: Any, rows: Padded, *, states: bool) -> tuple[Tensor | None, Tensor]:
    """The last hidden states (B, C, D) that `completion_logits` are computed from, where they are wanted, and those."""
    C = rows.completion_BC.shape[1]
    found = model(**rows.inputs(), use_cache=False, logits_to_keep=C + 1, output_hidden_states=states)
    hidden_BCD = found.hidden_states[-1][:, -C - 1 : -1] if states else None
    return hidden_BCD, found.logits[:, -C - 1 : -1]


def completion_logprobs(model: Any, rows: Padded, *, temperature: float) -> Tensor:
    """log p of each completion token given all before it, (B, C) as `rows.completion_BC`, 0 elsewhere."""
    return of_tokens(completion_logits(model, rows), rows.token_BC, rows.completion_BC, temperature=temperature)


class HfLikelihood:
    """A frozen causal language model that says how likely it finds given replies.

    Args:
        model: folder, Hub name or shipped model.
        temperature: divides the logits.
        micro_batch: rows in memory at once; changes nothing else.
        dtype: "auto" (float32 on a CPU, bfloat16 autocast on a GPU), "float32" or "bfloat16".
    """

    def __init__(self, model: str, *, temperature: float = 1.0, micro_batch: int = 16, dtype: str = "auto") -> None:
        self.reader = RowReader(model)
        self._placement = place(dtype)
        self._model = self._placement.put(load_causal(model), gradient_checkpointing=False)
        self._temperature = temperature
        self._micro_batch = micro_batch

    @torch.no_grad()
    def logprobs(self, conversations: Sequence[Conversation]) -> list[float]:
        """log p (nats) of each reply and its EOS, given its prompt."""
        rows = [self.reader.read(c) for c in conversations]
        sums_B = torch.zeros(len(rows), dtype=torch.float64)
        for index in groups([len(row.ids) for row in rows], self._micro_batch):
            part = Padded.of([rows[i] for i in index], self._placement.device)
            with self._placement.autocast():
                logprobs_BC = completion_logprobs(self._model, part, temperature=self._temperature)
            sums_B[index] = logprobs_BC.double().sum(1).cpu()
        return sums_B.tolist()
