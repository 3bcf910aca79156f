"""Learners: models that are trained. A stage hands them token ids and a loss; they own forward passes, gradient
accumulation, optimiser and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from rlaif.records.prompt import Message
from rlaif.records.settings import Lora, Training

if TYPE_CHECKING:
    import torch

    from rlaif.batches import Rollouts

Need = Literal["values", "cost_values", "reference_kl"]
VALUES: tuple[Need, ...] = ("values",)


class Conversation(NamedTuple):
    """A prompt and the reply to it, the thing that reward models score and supervised fine-tuning imitates."""

    messages: list[Message]
    response: str


class PairTarget(NamedTuple):
    """A preference pair with its soft label: p = P(first is better), weight >= 0."""

    messages: list[Message]
    first: str
    second: str
    p: float
    weight: float

    @property
    def share(self) -> float:
        """Of the minibatch's mean."""
        return self.weight


class CostTarget(NamedTuple):
    """A pair on a cost axis: p = P(first is *more* harmful), and the probability that each reply is harmful at all.
    What nobody answered has weight 0."""

    messages: list[Message]
    first: str
    second: str
    p: float
    weight: float
    first_harmful: float
    second_harmful: float
    first_weight: float
    second_weight: float

    @property
    def share(self) -> float:
        """Of the minibatch's mean: every pair counts one, and each of its answered terms adds its part."""
        return 1.0


class Optimisation(NamedTuple):
    """Optimiser settings that every learner reads. `micro_batch` bounds memory and changes nothing else."""

    learning_rate: float
    weight_decay: float
    gradient_clip: float
    micro_batch: int
    total_steps: int  # linear warm-up over `warmup_steps`, then linear decay to 0 at `total_steps`; 0 = constant
    warmup_steps: int
    lora: Lora | None = None  # all weights are trained
    gradient_checkpointing: bool = False

    @classmethod
    def of(cls, training: Training, total_steps: int) -> Optimisation:
        """These settings over `total_steps` optimiser steps."""
        return cls(
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            gradient_clip=training.gradient_clip,
            micro_batch=training.micro_batch,
            total_steps=total_steps,
            warmup_steps=training.warmup_steps,
            lora=training.lora,
            gradient_checkpointing=training.gradient_checkpointing,
        )


class SftLearner(Protocol):
    """Supervised fine-tuning: cross-entropy on the reply's tokens only, EOS included, as a mean over the tokens of the
    whole minibatch. Every `step`, here and below, raises RunHalted before it changes a weight if a number is not
    finite."""

    def step(self, rows: Sequence[Conversation]) -> dict[str, float]: ...

    def evaluate(self, rows: Sequence[Conversation]) -> dict[str, float]: ...

    @property
    def truncated(self) -> int:
        """How many different rows were too long for the model and lost their oldest tokens."""
        ...

    def save(self, folder: Path) -> None: ...


class RewardScorer(Protocol):
    """A frozen scalar model of (prompt, reply)."""

    def score(self, rows: Sequence[Conversation]) -> list[float]: ...

    @property
    def truncated(self) -> int:
        """How many different rows were too long for the backbone and lost their oldest tokens."""
        ...


class EnsembleScorer(RewardScorer, Protocol):
    """Several reward models that score together; `spread` is the population variance of their scores of each row."""

    def spread(self, rows: Sequence[Conversation]) -> list[float]: ...


class RewardLearner(RewardScorer, Protocol):
    """The same being trained: a sequence classifier with one output. `loss(first_B, second_B, ..., weight_total=...)`
    gives a micro-batch's share, with `total` and `stats`; between stand the rows' numbers in their order, (B,) each.
    `weight_total` is the sum of the whole minibatch's shares."""

    def step(self, rows: Sequence[PairTarget] | Sequence[CostTarget], loss: Callable[..., Any]) -> dict[str, float]: ...

    def normalise(self, mean: float, spread: float) -> None:
        """From here on scores are (present score - mean) / spread, also in the saved model."""
        ...

    def save(self, folder: Path) -> None: ...


class Likelihood(Protocol):
    """A frozen language model that says how likely it finds given replies: nats a reply, EOS included where it was
    written and not cut off."""

    def logprobs(self, conversations: Sequence[Conversation], ended: Sequence[bool]) -> list[float]: ...


class PolicyLearner(Protocol):
    """Policy, frozen reference and the value models that the algorithm needs, with one optimiser step per minibatch.
    `loss(rows, logprobs_BT, tokens=..., **needed)` gives a micro-batch's share, with `total` and `stats`. What is
    (B, T) goes with the completions' tokens: their log-probability; by need `values_BT`, the value of the state before
    each, and `cost_values_BT`, the same of the cost; `reference_kl_BT`, KL(reference || policy) in nats over the whole
    vocabulary in that state."""

    @property
    def notes(self) -> Sequence[str]:
        """Lines for a person: where the learner departs from what it was given, and why."""
        ...

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]: ...

    def decode(self, token_ids: Sequence[int]) -> str: ...

    @property
    def pad_id(self) -> int: ...

    def logprobs(self, rollouts: Rollouts) -> torch.Tensor: ...  # (B, T) of the policy, no gradient

    def reference_logprobs(self, rollouts: Rollouts) -> torch.Tensor: ...  # (B, T), no gradient

    def values(self, rollouts: Rollouts) -> dict[str, torch.Tensor]:
        """By name, what is needed of `values_BT` and `cost_values_BT`, without gradient."""
        ...

    def step(self, batch: Rollouts, loss: Callable[..., Any]) -> dict[str, float]: ...

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]: ...

    def save(self, folder: Path) -> None: ...

    def save_state(self, folder: Path) -> None: ...

    def load_state(self, folder: Path) -> None: ...
