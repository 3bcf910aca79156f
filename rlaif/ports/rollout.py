"""Rollout engines: sample the policy being trained, fast, with the log-probabilities of what was sampled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rlaif.ports.chat import Sampling

if TYPE_CHECKING:
    import torch


class RolloutRequest(NamedTuple):
    """One completion to sample after `prompt_ids`; the seed fixes the sample for given weights."""

    prompt_ids: list[int]
    seed: int


class Rollout(NamedTuple):
    """Sampled ids with EOS where `finished`, and for each its log-probability (nats) under the sampling distribution:
    temperature applied, μ of ALGORITHMS §5."""

    token_ids: list[int]
    logprobs: list[float]
    finished: bool


class RolloutEngine(Protocol):
    """Holds its own copy of the policy's weights; `sync` replaces them."""

    name: str  # "vllm" or "hf"

    def rollout(self, requests: Sequence[RolloutRequest], sampling: Sampling) -> list[Rollout]: ...

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Load these named parameters (as the trainer's `state_dict` names them, output head included)."""
        ...

    def close(self) -> None: ...
