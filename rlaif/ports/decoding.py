"""Decoders: a frozen language model that draws replies under a setting, and says how far that is from its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rlaif.ports.chat import GenerateRequest
from rlaif.records.decoding import Setting


class Decoded(NamedTuple):
    """A reply. kl: the sum over its tokens, the end included where it ended by itself, of the KL divergence in nats of
    the distribution that the token was drawn from, from the model's own. Its mean over replies is without bias the KL
    divergence of the replies' distribution."""

    text: str
    tokens: int
    finished: bool
    kl: float


class Decoder(Protocol):
    """Replies depend on the requests' seeds; the same call gives the same ones."""

    digest: str  # identity of weights, tokenizer and chat template

    def check(self, setting: Setting) -> None:
        """Raises InputError: the model's vocabulary cannot write a word of the mask."""
        ...

    def draw(self, requests: Sequence[GenerateRequest], setting: Setting, max_tokens: int) -> list[Decoded]: ...

    def config(self, setting: Setting) -> str:
        """The text of a `generation_config.json` that makes transformers decode so."""
        ...
