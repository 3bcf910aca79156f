"""Algorithms: how a policy learns from its scored samples. Each is one module, reached by its registry name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rlaif.ports.learner import Need

if TYPE_CHECKING:
    from torch import Tensor

    from rlaif.batches import Scored


Sampler = Literal["policy", "reference"]


class Algorithm(Protocol):
    """What such a module holds.

    SAMPLER: who draws the samples: the policy as it is, or for ever the reference that it started from.
    NEEDS: what the learner computes for the loss besides log-probabilities: `values` gives it `values_BT`, and
        `prepare` a batch with values; `cost_values`, beside `values`, gives it `cost_values_BT`, and `prepare` a batch
        with costs and their values; `reference_kl` gives it `reference_kl_BT`.
    Config: the settings model; has `epochs` and `minibatches`, and `group_size` where it wants several samples of each
        prompt, which then stand next to each other in every batch.
    """

    SAMPLER: Sampler
    NEEDS: tuple[Need, ...]
    Config: type[Any]

    def start(self, config: Any) -> dict[str, float]:
        """What the algorithm remembers between updates, by name. It is logged, and kept in checkpoints."""
        ...

    def prepare(self, scored: Any, config: Any, state: Mapping[str, float]) -> Scored:
        """The batch that is learnt from, once an update: perhaps with fewer rows, perhaps of a richer type."""
        ...

    def observe(self, batch: Any) -> Any:
        """A named tuple of what a prepared batch says before anything is learnt from it; None is not logged."""
        ...

    def loss(self, rows: Any, logprobs_BT: Tensor, *, config: Any, tokens: float, **needed: Tensor) -> Any:
        """Some rows' share of the loss of their minibatch: `total`, which is differentiated, and `stats`.

        Args:
            logprobs_BT: log pi of the rows' tokens by the policy being trained, with gradient.
            tokens: kept tokens of the whole minibatch.
            needed: see `NEEDS`.
        """
        ...

    def after_step(self, state: Mapping[str, float], observed: Any, episodes: int, config: Any) -> dict[str, float]:
        """What is remembered for the next update.

        Args:
            observed: by `observe`, of the batch just learnt from.
            episodes: samples that were drawn for it.
        """
        ...
