"""Conversations as token ids, and rows of different length as rectangles.

Layout: prompts padded on the left, completions on the right, as `rlaif.batches` has it, so that column P - 1 + t
predicts completion token t in every row. Masks and position ids are explicit; a pad id is never looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlaif.batches import Rollouts
from rlaif.engines import tokens
from rlaif.ports.learner import Conversation

logger = logging.getLogger(__name__)


class TokenRow(NamedTuple):
    """A prompt and the completion after it, both at least one token."""

    prompt: list[int]
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


class RowReader:
    """Spells conversations in a model's tokens.

    A row longer than the model's context loses its oldest tokens, the beginning of the prompt; the reply stays whole as
    long as it fits, and its end always stays. Such rows are counted, each once, and the first is said aloud.
    """

    def __init__(self, reference: str) -> None:
        self.tokenizer: PreTrainedTokenizerBase = tokens.load_tokenizer(reference)
        self._context = tokens.context_length(reference)
        self._truncated: set[int] = set()

    @property
    def truncated(self) -> int:
        """How many different rows lost tokens so far."""
        return len(self._truncated)

    def read(self, row: Conversation) -> TokenRow:
        """The row's prompt, and its reply with EOS."""
        prompt = tokens.prompt_ids(self.tokenizer, row.messages)
        completion = tokens.completion_ids(self.tokenizer, row.response)
        if len(prompt) + len(completion) <= self._context:
            return TokenRow(prompt, completion)
        if not self._truncated:
            length = len(prompt) + len(completion)
            logger.warning("a row has %d tokens, the model takes %d: its oldest are cut off", length, self._context)
        self._truncated.add(hash((tuple(prompt), tuple(completion))))
        completion = completion[-(self._context - 1) :]
        return TokenRow(prompt[-(self._context - len(completion)) :], completion)


class Rows(NamedTuple):
    """Token ids and masks of prompts (B, P) and completions (B, T); True takes part."""

    prompt_BP: Tensor
    prompt_keep_BP: Tensor
    completion_BT: Tensor
    keep_BT: Tensor

    @classmethod
    def of(cls, source: Rollouts) -> Rows:
        """The tokens of rollouts."""
        return cls(source.prompt_BP, source.prompt_keep_BP, source.completion_BT, source.keep_BT)

    @classmethod
    def from_lists(cls, rows: Sequence[TokenRow]) -> Rows:
        """Pad lists of token ids, with id 0 under the mask."""
        P, T = max(len(row.prompt) for row in rows), max(len(row.completion) for row in rows)
        prompts = [[0] * (P - len(row.prompt)) + row.prompt for row in rows]
        completions = [row.completion + [0] * (T - len(row.completion)) for row in rows]
        columns_P, columns_T = torch.arange(P), torch.arange(T)
        return cls(
            torch.tensor(prompts),
            columns_P >= torch.tensor([[P - len(row.prompt)] for row in rows]),
            torch.tensor(completions),
            columns_T < torch.tensor([[len(row.completion)] for row in rows]),
        )

    def groups(self, size: int) -> list[Tensor]:
        """Indices of rows, `size` at a time, those of similar length together so that little is padded.

        The longest come first, so that a run that lacks memory finds out at once.
        """
        lengths_B = self.prompt_keep_BP.sum(1) + self.keep_BT.sum(1)
        return list(torch.split(lengths_B.argsort(descending=True, stable=True), size))

    def take(self, index: Tensor, device: torch.device) -> Rows:
        """Some rows on a device, without the columns that are padding in all of them."""
        P = int(self.prompt_keep_BP[index].sum(1).max())
        T = int(self.keep_BT[index].sum(1).max())
        first = self.prompt_BP.shape[1] - P
        return Rows(
            self.prompt_BP[index, first:].to(device),
            self.prompt_keep_BP[index, first:].to(device),
            self.completion_BT[index, :T].to(device),
            self.keep_BT[index, :T].to(device),
        )

    def inputs(self) -> dict[str, Tensor]:
        """Arguments of a forward pass over prompt and completion, each (B, P + T). Positions count real tokens."""
        keep_BS = torch.cat([self.prompt_keep_BP, self.keep_BT], dim=1).long()
        return {
            "input_ids": torch.cat([self.prompt_BP, self.completion_BT], dim=1),
            "attention_mask": keep_BS,
            "position_ids": (keep_BS.cumsum(1) - 1).clamp(min=0),
        }
