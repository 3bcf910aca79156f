"""Conversations as token ids, and rows of different length as rectangles. Masks are explicit: a pad id is never looked
at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from rlaif.batches import Rollouts
from rlaif.engines import tokens
from rlaif.ports.learner import Conversation
from rlaif.ports.processes import Processes

logger = logging.getLogger(__name__)


class TokenRow(NamedTuple):
    """A prompt and the completion after it, both at least one token."""

    prompt: list[int]
    completion: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.completion


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


def rows_of(source: Rollouts) -> list[TokenRow]:
    """The tokens of rollouts without their padding."""
    return [
        TokenRow(prompt_P[kept_P].tolist(), completion_T[kept_T].tolist())
        for prompt_P, kept_P, completion_T, kept_T in zip(
            source.prompt_BP, source.prompt_keep_BP, source.completion_BT, source.keep_BT, strict=True
        )
    ]


class Part(NamedTuple):
    """Rows of one forward and backward pass. They do not count where they are passed for company: see `parts`."""

    rows: list[int]
    counts: bool


def parts(lengths: Sequence[int], size: int, processes: Processes) -> list[Part]:
    """This process's rows of a minibatch, in micro-batches as those of `groups`.

    Each process gets long and short ones. All go through equally many passes, because sharded networks compute
    together; one that has nothing left passes rows again, and they do not count.
    """
    mine = order(lengths)[processes.rank :: processes.size]
    found = [Part(mine[start : start + size], True) for start in range(0, len(mine), size)]
    most = -(-len(lengths) // processes.size)
    again = Part((mine or order(lengths))[:1], False)
    return found + [again] * (-(-most // size) - len(found))


def order(lengths: Sequence[int]) -> list[int]:
    """Indices of rows, the longest first, so that a run that lacks memory finds out at once."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])


def groups(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices of rows, `size` at a time, those of similar length together so that little is padded."""
    rows = order(lengths)
    return [rows[start : start + size] for start in range(0, len(rows), size)]
