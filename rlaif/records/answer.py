"""What a model answered, as the answer store keeps it."""

from __future__ import annotations

from pydantic import model_validator

from rlaif.records.base import Record


class Answer(Record):
    """Log-probabilities of the options that were asked for (nats), or text, or the reason why there is neither.

    `finished` is False where the token budget cut the text.
    """

    logprobs: tuple[float, ...] | None = None
    text: str | None = None
    finished: bool = True
    reason: str | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Answer:
        if sum(x is not None for x in (self.logprobs, self.text, self.reason)) != 1:
            raise ValueError("an answer is log-probabilities, or text, or a reason")
        return self

    @property
    def failed(self) -> bool:
        return self.reason is not None
