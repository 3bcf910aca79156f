"""The part of a rollout engine that does not depend on who computes: limits of length and the check of every sync."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from rlaif.engines.token_model import TokenModel, WeightNames
from rlaif.ports.chat import Sampling
from rlaif.ports.rollout import Rollout, RolloutRequest
from rlaif.records.errors import InputError


class LocalRollout:
    """A `RolloutEngine` over a model runtime that holds its own copy of the weights, output head untied."""

    def __init__(self, name: str, *, runtime: TokenModel, names: WeightNames, context: int) -> None:
        self.name = name
        self._runtime = runtime
        self._names = names
        self._context = context

    def rollout(self, requests: Sequence[RolloutRequest], sampling: Sampling) -> list[Rollout]:
        """See `RolloutEngine`. A completion ends early, unfinished, where the context ends.

        Raises:
            InputError: a prompt leaves no room in the context.
        """
        longest = max((len(request.prompt_ids) for request in requests), default=0)
        if longest >= self._context:
            fix = "leave such prompts out, or raise max_model_len if the model allows"
            raise InputError(f"the prompt has {longest} tokens, the model's context is {self._context}", fix=fix)
        return self._runtime.sample(requests, sampling)

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `RolloutEngine`. The output head is required even where the trainer's is tied to the embedding.

        Raises:
            ValueError: a tensor is missing, unknown or of a wrong shape; the engine keeps its old weights.
        """
        self._runtime.load(self._names.check(weights))

    def close(self) -> None:
        """Free the model."""
        self._runtime.close()
