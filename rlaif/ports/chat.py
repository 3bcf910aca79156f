"""Chat models: the critics that judge and the models that write.

One protocol serves both, because a critic is a language model that is read at one position instead of being decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rlaif.records.prompt import Message


class Sampling(NamedTuple):
    """How completions are drawn. Temperature 0 is greedy; nothing is ever truncated by top-p or top-k, so that the
    sampling distribution is the model's own at that temperature (ALGORITHMS: engine mismatch)."""

    temperature: float
    max_tokens: int


class OptionRequest(NamedTuple):
    """Read the log-probabilities of `options` as the first token of the assistant's reply to `messages`."""

    messages: list[Message]
    options: tuple[str, ...]


class OptionLogprobs(NamedTuple):
    """Log-probabilities (nats) of the options, in the order asked, over the model's whole vocabulary.

    An option that several tokens may spell ("A", " A") has their probabilities added.
    """

    logprobs: tuple[float, ...]


class GenerateRequest(NamedTuple):
    """One completion to draw. The same seed and model give the same text."""

    messages: list[Message]
    seed: int


class Generation(NamedTuple):
    """A completion's text without control tokens; `finished` is False where the token budget cut it."""

    text: str
    finished: bool
    tokens: int


class Failure(NamedTuple):
    """A request that got no usable answer. It is recorded as missing data; nothing turns it into a number."""

    reason: str


class ChatModel(Protocol):
    """A critic or generator. Answers come in the order of the requests, one each."""

    spec: str  # "vllm:tinyworld/critic"
    digest: str  # identity of engine-independent content: weights, tokenizer, chat template

    def option_logprobs(self, requests: Sequence[OptionRequest]) -> list[OptionLogprobs | Failure]: ...

    def generate(self, requests: Sequence[GenerateRequest], sampling: Sampling) -> list[Generation | Failure]: ...

    def close(self) -> None: ...
