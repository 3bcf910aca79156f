"""What policies learn from, as types that each hold more than the one before.

    Rollouts         what the rollout engine sampled
    Scored           + what the trainer thinks of it: log-probabilities, one score a row
    Valued           + the value model's estimates, for algorithms that train one
    Costed           Valued + a cost a row and the estimates of the cost's value model
    AdvantageBatch   Scored + what an algorithm without values makes of it: advantages, importance weights
    TrainBatch       Valued + what PPO makes of it: advantages, returns, importance weights
    ConstrainedBatch Costed + TrainBatch + returns of the cost

Dimensions: B rows, P prompt tokens, T completion tokens. Prompts are padded on the left and completions on the right,
so that the last column of the prompt is always the token before the first column of the completion.

Masks are boolean, True takes part. Per-token numbers are in nats or units of reward, float32 or float64 (in bfloat16 a
ratio of probabilities is noise), and mean something only where `keep_BT`. Position t of a completion goes with the
token at t: its log-probability, the value of the state in which it was chosen, its advantage.

Every field is required, and shapes, dtypes and padding are checked when an object is made. NaN or infinity at a kept
position halts the run then and there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self, TypeVar

import torch
from torch import Tensor

from rlaif.records.errors import NotFinite

R = TypeVar("R", bound="Rollouts")


def require_finite(name: str, values: Tensor, keep: Tensor | None = None) -> None:
    """Halt if an entry of `values` (B, ...) is NaN or infinite; with a mask of the same shape, a kept entry.

    Raises:
        NotFinite: names the field, the row and the value.
    """
    bad = ~torch.isfinite(values)
    if keep is not None:
        bad = bad & keep
    if bool(bad.any()):
        where = tuple(int(i) for i in bad.nonzero()[0])
        token = f", token {where[1]}" if len(where) > 1 else ""
        value, count = float(values[where].detach()), int(bad.sum())
        message = f"{name} is {value} in row {where[0]}{token} ({count} such entries)"
        raise NotFinite(message, name, values.detach().cpu())


def merge_stats(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """The stats of a whole minibatch from those of its micro-batches, which algorithms' losses return as their share.

    Names that end in `_max` take the maximum; all others add up.
    """
    merged: dict[str, float] = {}
    for name in parts[0]:
        values = torch.stack([part[name] for part in parts])
        merged[name] = float(values.amax() if name.endswith("_max") else values.sum())
    return merged


def concatenate(batches: Sequence[R]) -> R:
    """The rows of several batches of one type, one batch after the other, padded to the longest prompt and completion.

    One batch alone is returned as it is.
    """
    kind = type(batches[0])
    if len(batches) == 1:
        return batches[0]
    P, T = (max(getattr(batch, name).shape[1] for batch in batches) for name in ("prompt_BP", "completion_BT"))

    def widened(name: str, tensor: Tensor) -> Tensor:
        if name.endswith("_BP"):
            return torch.nn.functional.pad(tensor, (P - tensor.shape[1], 0))
        return torch.nn.functional.pad(tensor, (0, T - tensor.shape[1])) if name.endswith("_BT") else tensor

    columns = {field.name: [widened(field.name, getattr(b, field.name)) for b in batches] for field in fields(kind)}
    return kind(**{name: torch.cat(column) for name, column in columns.items()})


_DTYPES: dict[str, tuple[torch.dtype, ...]] = {
    "prompt_BP": (torch.int64,),
    "prompt_keep_BP": (torch.bool,),
    "completion_BT": (torch.int64,),
    "keep_BT": (torch.bool,),
    "finished_B": (torch.bool,),
}


def _tensors(batch: Rollouts, kind: type[Rollouts]) -> dict[str, Tensor]:
    """The fields of `batch` that the class `kind` has, by name."""
    return {field.name: getattr(batch, field.name) for field in fields(kind)}


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Sampled completions.

    prompt_BP: token ids (int64). prompt_keep_BP: bool; at least the last column is kept in every row.
    completion_BT: token ids (int64). keep_BT: bool; the tokens that were sampled, the end-of-sequence token included,
        at least one a row.
    engine_logprobs_BT: log mu of the sampled tokens by the engine that sampled them, as it sampled them (after
        temperature).
    finished_B: bool; the completion ended with an end-of-sequence token, not at the length limit.
    """

    prompt_BP: Tensor
    prompt_keep_BP: Tensor
    completion_BT: Tensor
    keep_BT: Tensor
    engine_logprobs_BT: Tensor
    finished_B: Tensor

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_padding()
        for name, tensor in _tensors(self, type(self)).items():
            if tensor.is_floating_point():
                require_finite(name, tensor, self.keep_BT if name.endswith("_BT") else None)

    @classmethod
    def from_lists(
        cls,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        engine_logprobs: Sequence[Sequence[float]],
        finished: Sequence[bool],
        pad_id: int,
    ) -> Rollouts:
        """Pad lists of token ids into rollouts on the CPU; `pad_id` may be any id, because masks come from lengths.

        Raises:
            ValueError: the lists differ in number, a prompt or completion is empty, or a completion has not exactly one
                log-probability a token.
            RunHalted: a log-probability is NaN or infinite.
        """
        if not len(prompts) == len(completions) == len(engine_logprobs) == len(finished) > 0:
            counts = (len(prompts), len(completions), len(engine_logprobs), len(finished))
            raise ValueError(f"need equally many prompts, completions, logprobs and finished flags, got {counts}")
        for row, (prompt, completion, logprobs) in enumerate(zip(prompts, completions, engine_logprobs, strict=True)):
            if not prompt or not completion or len(completion) != len(logprobs):
                lengths = f"prompt {len(prompt)}, completion {len(completion)}, logprobs {len(logprobs)}"
                raise ValueError(f"row {row}: prompt and completion need tokens, one logprob each; lengths: {lengths}")
        P, T = max(map(len, prompts)), max(map(len, completions))
        return cls(
            prompt_BP=torch.tensor([[pad_id] * (P - len(ids)) + list(ids) for ids in prompts]),
            prompt_keep_BP=torch.tensor([[False] * (P - len(ids)) + [True] * len(ids) for ids in prompts]),
            completion_BT=torch.tensor([list(ids) + [pad_id] * (T - len(ids)) for ids in completions]),
            keep_BT=torch.tensor([[True] * len(ids) + [False] * (T - len(ids)) for ids in completions]),
            engine_logprobs_BT=torch.tensor(
                [list(row) + [0.0] * (T - len(row)) for row in engine_logprobs], dtype=torch.float32
            ),
            finished_B=torch.tensor(list(finished)),
        )

    @property
    def tokens(self) -> int:
        """Number of kept completion tokens: what a token mean divides by."""
        return int(self.keep_BT.sum())

    def select(self, index: Tensor) -> Self:
        """The rows that `index` names (positions or a boolean mask), as an object of the same type.

        Raises:
            ValueError: it names none.
        """
        return self._with({name: tensor[index] for name, tensor in _tensors(self, type(self)).items()})

    def to(self, device: torch.device | str) -> Self:
        """A copy on another device."""
        return self._with({name: tensor.to(device) for name, tensor in _tensors(self, type(self)).items()})

    def _with(self, tensors: dict[str, Tensor]) -> Self:
        """An object of the same type with tensors that come of this one's, row by row: what was checked is not checked
        again, for every micro-batch."""
        if not len(tensors["keep_BT"]):
            raise ValueError("a batch needs rows")
        made = object.__new__(type(self))
        made.__dict__.update(tensors)
        return made

    def scored(self, *, logprobs_BT: Tensor, ref_logprobs_BT: Tensor, scores_B: Tensor) -> Scored:
        """These rollouts with the trainer's view of them; see `Scored` for the fields."""
        return Scored(
            **_tensors(self, Rollouts),
            logprobs_BT=logprobs_BT,
            ref_logprobs_BT=ref_logprobs_BT,
            scores_B=scores_B,
        )

    def _check_shapes(self) -> None:
        if self.prompt_BP.ndim != 2 or self.completion_BT.ndim != 2:
            raise ValueError("prompt_BP and completion_BT must have two dimensions")
        size = {"B": self.prompt_BP.shape[0], "P": self.prompt_BP.shape[1], "T": self.completion_BT.shape[1]}
        if 0 in size.values():
            raise ValueError(f"a batch needs rows and tokens, got {size}")
        for name, tensor in _tensors(self, type(self)).items():
            expected = tuple(size[letter] for letter in name.rsplit("_", 1)[1])
            if tuple(tensor.shape) != expected:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {expected}")
            kind = _DTYPES.get(name, (torch.float32, torch.float64))
            if tensor.dtype not in kind:
                raise ValueError(f"{name} has dtype {tensor.dtype}, expected {' or '.join(map(str, kind))}")
            if tensor.requires_grad or tensor.device != self.prompt_BP.device:
                raise ValueError(f"{name} must be detached and on {self.prompt_BP.device}")

    def _check_padding(self) -> None:
        prompt, completion = self.prompt_keep_BP, self.keep_BT
        if bool((prompt[:, :-1] & ~prompt[:, 1:]).any()) or not bool(prompt[:, -1].all()):
            raise ValueError("prompt_keep_BP must be padded on the left, with at least one token a row")
        if bool((completion[:, 1:] & ~completion[:, :-1]).any()) or not bool(completion[:, 0].all()):
            raise ValueError("keep_BT must be padded on the right, with at least one token a row")


@dataclass(frozen=True, eq=False)
class Scored(Rollouts):
    """Rollouts with the trainer's view of them, all without gradient.

    logprobs_BT: log pi_old, recomputed by the trainer with the weights that sampled.
    ref_logprobs_BT: log pi_ref by the frozen reference.
    scores_B: the score of each response as the reward says it. The rule for completions without end of sequence is
        *not* in it: the algorithm's `prepare` applies that, so that a logged score is a score.
    """

    logprobs_BT: Tensor
    ref_logprobs_BT: Tensor
    scores_B: Tensor

    def valued(self, values_BT: Tensor) -> Valued:
        """This with the value model's estimates."""
        return Valued(**_tensors(self, Scored), values_BT=values_BT)

    def costed(self, *, values_BT: Tensor, costs_B: Tensor, cost_values_BT: Tensor) -> Costed:
        """This with both value models' estimates and the costs."""
        own = {"values_BT": values_BT, "costs_B": costs_B, "cost_values_BT": cost_values_BT}
        return Costed(**_tensors(self, Scored), **own)

    def advantage_batch(self, *, advantages_BT: Tensor, importance_BT: Tensor) -> AdvantageBatch:
        """This with an algorithm's advantages; see `AdvantageBatch` for the fields."""
        return AdvantageBatch(**_tensors(self, Scored), advantages_BT=advantages_BT, importance_BT=importance_BT)


@dataclass(frozen=True, eq=False)
class Valued(Scored):
    """Scored rollouts of an algorithm that trains a value model.

    values_BT: the value model's estimate before the first step on this batch, without gradient.
    """

    values_BT: Tensor

    def train_batch(self, *, advantages_BT: Tensor, returns_BT: Tensor, importance_BT: Tensor) -> TrainBatch:
        """This with the algorithm's targets; see `TrainBatch` for the fields."""
        return TrainBatch(
            **_tensors(self, Valued), advantages_BT=advantages_BT, returns_BT=returns_BT, importance_BT=importance_BT
        )


@dataclass(frozen=True, eq=False)
class Costed(Valued):
    """Valued rollouts with a second, separate objective, which a constraint is on.

    costs_B: the cost of each response as the cost model says it, above 0 for harm.
    cost_values_BT: the estimate of the cost's value model before the first step on this batch, without gradient.
    """

    costs_B: Tensor
    cost_values_BT: Tensor

    def constrained_batch(
        self, *, advantages_BT: Tensor, returns_BT: Tensor, cost_returns_BT: Tensor, importance_BT: Tensor
    ) -> ConstrainedBatch:
        """This with the algorithm's targets; see `ConstrainedBatch` for the fields."""
        return ConstrainedBatch(
            **_tensors(self, Costed),
            advantages_BT=advantages_BT,
            returns_BT=returns_BT,
            cost_returns_BT=cost_returns_BT,
            importance_BT=importance_BT,
        )


@dataclass(frozen=True, eq=False)
class AdvantageBatch(Scored):
    """Everything that a policy-gradient loss without a value model needs besides the forward pass.

    advantages_BT: of each token; where a whole response is one action, the same all along a row.
    importance_BT: truncated weights pi_old / mu.
    """

    advantages_BT: Tensor
    importance_BT: Tensor


@dataclass(frozen=True, eq=False)
class TrainBatch(Valued):
    """Everything that PPO's loss needs besides the forward pass.

    advantages_BT: whitened or not, as the algorithm says.
    returns_BT: targets of the value model.
    importance_BT: truncated weights pi_old / mu.
    """

    advantages_BT: Tensor
    returns_BT: Tensor
    importance_BT: Tensor


@dataclass(frozen=True, eq=False)
class ConstrainedBatch(Costed, TrainBatch):
    """A `TrainBatch` whose advantages are of reward and cost together, as the multiplier weighs them.

    cost_returns_BT: targets of the cost's value model.
    """

    cost_returns_BT: Tensor
