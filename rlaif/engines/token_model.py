"""What the chat and rollout engines need of a model runtime, transformers or vLLM: token ids in, token ids and
log-probabilities out. Text, templates and failures are the business of the layers above."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from transformers import AutoModelForCausalLM

from rlaif.engines.tokens import load_config
from rlaif.ports.chat import Sampling
from rlaif.ports.rollout import Rollout, RolloutRequest
from rlaif.records.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TokenModel(Protocol):
    """A loaded causal language model. Answers come in the order asked; prompts fit the context."""

    def read(self, prompts: Sequence[list[int]], wanted: Sequence[list[int]]) -> list[list[float]]:
        """For each prompt the log-probabilities (nats, temperature 1) of the `wanted` ids as the next token."""
        ...

    def sample(self, requests: Sequence[RolloutRequest], sampling: Sampling) -> list[Rollout]:
        """Sample at most `max_tokens` after each prompt, fewer where the context ends."""
        ...

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the weights by these, which are complete (see `WeightNames`)."""
        ...

    def close(self) -> None: ...


def pick_device() -> torch.device:
    """The GPU where there is one, unless `accelerate` is told to stay on the CPU; each process has its own."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1", "yes")
    return torch.device("cuda" if torch.cuda.is_available() and not on_cpu else "cpu")


def pick_dtype(name: str) -> torch.dtype:
    """The dtype of that name; `auto` is float32 on a CPU and bfloat16 on a GPU.

    Raises:
        InputError: there is no such dtype.
    """
    if name == "auto":
        return torch.bfloat16 if pick_device().type == "cuda" else torch.float32
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}", fix="use one of: auto, " + ", ".join(DTYPES))
    return DTYPES[name]


class WeightNames:
    """Names and shapes of a model's parameters in the trainer's spelling, output head included even where it is tied
    to the embedding. Made on torch's meta device: no memory, no weights read."""

    def __init__(self, reference: str) -> None:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                load_config(reference), trust_remote_code=False
            )
        self.shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        self.tied: bool = bool(model.config.get_text_config().tie_word_embeddings)

    def check(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """The weights as a dict, if they are all there, each of its shape, and nothing else.

        Raises:
            ValueError: names the tensors that are missing, unknown or of a wrong shape. A sync that skipped one in
                silence would leave the engine sampling from a mixture of two models.
        """
        given = dict(weights)
        faults = [f"{name} is missing" for name in self.shapes if name not in given]
        faults += [f"{name} is unknown" for name in given if name not in self.shapes]
        faults += [
            f"{name} has shape {tuple(tensor.shape)} instead of {self.shapes[name]}"
            for name, tensor in given.items()
            if name in self.shapes and tuple(tensor.shape) != self.shapes[name]
        ]
        if faults:
            more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
            raise ValueError("these weights do not fit the engine's model: " + "; ".join(faults[:5]) + more)
        return given
