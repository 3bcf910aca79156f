"""Log-probabilities of replies under a causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif.engines.learner.network import load_causal, place
from rlaif.engines.learner.packing import Packed, states_and_logits
from rlaif.engines.learner.rows import RowReader, groups
from rlaif.formulas.logprobs import of_tokens
from rlaif.ports.learner import Conversation


def completion_logits(model: Any, rows: Packed) -> Tensor:
    """The logits that predict the completions' tokens, (1, N, V): already shifted by one."""
    return states_and_logits(model, rows, wanted=False)[1]


def completion_logprobs(model: Any, rows: Packed, *, temperature: float) -> Tensor:
    """log p of each completion token given all before it, (1, N)."""
    return of_tokens(completion_logits(model, rows), rows.token_1N, rows.keep_1N, temperature=temperature)


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
    def logprobs(self, conversations: Sequence[Conversation], ended: Sequence[bool]) -> list[float]:
        """log p (nats) of each reply given its prompt; with its EOS where it has `ended`."""
        rows = [self.reader.read(c) for c in conversations]
        sums_B = torch.zeros(len(rows), dtype=torch.float64)
        for index in groups([len(row.ids) for row in rows], self._micro_batch):
            part = Packed.of([rows[i] for i in index], self._placement.device)
            with self._placement.autocast():
                logprobs_1N = completion_logprobs(self._model, part, temperature=self._temperature)
            each = torch.split(logprobs_1N[0].double(), [len(rows[i].completion) for i in index])
            own = zip(index, each, strict=True)
            sums_B[index] = torch.stack([(reply if ended[i] else reply[:-1]).sum() for i, reply in own]).cpu()
        return sums_B.tolist()
