"""What every `RolloutEngine` must do. It is held to a trainer: a function that recomputes, by teacher forcing, the
log-probabilities of given tokens under given weights.

    rollout_contract.check(engine, trainer, weights, context=512, vocabulary=320)

`weights` is the trainer's state dict (output head included). The engine ends with other weights than it began with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from rlaif.ports.chat import Sampling
from rlaif.ports.rollout import Rollout, RolloutEngine, RolloutRequest
from rlaif.records.errors import InputError

Weights = Mapping[str, torch.Tensor]
# (weights, prompt ids, completion ids, temperature) -> log-probabilities (T,) of the completion ids.
Trainer = Callable[[Weights, Sequence[int], Sequence[int], float], Sequence[float]]

TOKENS = 16
TOLERANCE = 1e-3  # nats, in fp32
HEAD = "lm_head.weight"


def check(engine: RolloutEngine, trainer: Trainer, weights: Weights, *, context: int, vocabulary: int) -> None:
    """Every promise, in an order in which each starts from synced weights."""
    requests = prompts(vocabulary)
    engine.sync(weights.items())
    check_seeds(engine, requests)
    check_logprobs(engine, trainer, weights, requests)
    check_context(engine, context)
    check_sync(engine, trainer, weights, requests)
    check_bad_sync(engine, trainer, weights, requests)
    check_stale_head(engine, trainer, weights, requests)


def prompts(vocabulary: int) -> list[RolloutRequest]:
    """Ten prompts of 3 to 48 tokens with ids from 8 upwards, two of them equal but for the seed."""
    generator = torch.Generator().manual_seed(0)
    lengths = (3, 17, 48, 5, 33, 32, 31, 9, 20)
    ids = [torch.randint(8, vocabulary, (length,), generator=generator).tolist() for length in lengths]
    return [RolloutRequest(prompt, seed) for seed, prompt in enumerate([*ids, ids[0]])]


def gap(
    engine: RolloutEngine, trainer: Trainer, weights: Weights, requests: Sequence[RolloutRequest], temperature: float
) -> float:
    """Largest difference (nats) between the engine's log-probabilities of fresh rollouts and the trainer's."""
    worst = 0.0
    for request, rollout in zip(requests, engine.rollout(requests, Sampling(temperature, TOKENS)), strict=True):
        recomputed = trainer(weights, request.prompt_ids, rollout.token_ids, temperature)
        differences = [abs(a - b) for a, b in zip(rollout.logprobs, recomputed, strict=True)]
        worst = max([worst, *differences])
    return worst


def perturbed(weights: Weights) -> dict[str, torch.Tensor]:
    """The weights after a large update, every tensor moved."""
    generator = torch.Generator().manual_seed(1)
    return {name: w + 0.05 * torch.randn(w.shape, generator=generator).to(w) for name, w in weights.items()}


def check_seeds(engine: RolloutEngine, requests: Sequence[RolloutRequest]) -> None:
    """Answers come in order; a seed fixes the sample, alone as in a batch; the budget holds."""
    sampling = Sampling(1.0, TOKENS)
    batch = engine.rollout(requests, sampling)
    assert len(batch) == len(requests)
    assert engine.rollout(requests, sampling) == batch, "the same call gave other bits"
    assert _ids(engine.rollout(requests[::-1], sampling)) == _ids(batch)[::-1]
    assert [_ids(engine.rollout([request], sampling))[0] for request in requests] == _ids(batch)
    assert batch[0].token_ids != batch[-1].token_ids, "two seeds gave the same sample"
    for rollout in batch:
        assert len(rollout.token_ids) == len(rollout.logprobs)
        assert all(math.isfinite(value) and value <= 0 for value in rollout.logprobs)
        assert rollout.finished or len(rollout.token_ids) == TOKENS
    assert engine.rollout([], sampling) == []


def check_logprobs(
    engine: RolloutEngine, trainer: Trainer, weights: Weights, requests: Sequence[RolloutRequest]
) -> None:
    """The log-probabilities are those of the sampling distribution, temperature applied."""
    for temperature in (0.7, 1.0):
        found = gap(engine, trainer, weights, requests, temperature)
        assert found < TOLERANCE, f"{found:.2e} nats from the trainer at temperature {temperature}"


def check_context(engine: RolloutEngine, context: int) -> None:
    """A completion ends where the context ends; a prompt that fills it is the caller's fault."""
    (rollout,) = engine.rollout([RolloutRequest([9] * (context - 2), 0)], Sampling(1.0, TOKENS))
    assert len(rollout.token_ids) == 2 or rollout.finished
    message = _raised(InputError, lambda: engine.rollout([RolloutRequest([9] * context, 0)], Sampling(1.0, TOKENS)))
    assert str(context) in message, message


def check_sync(engine: RolloutEngine, trainer: Trainer, weights: Weights, requests: Sequence[RolloutRequest]) -> None:
    """After an update of the trainer the engine is stale; after the sync it is not."""
    moved = perturbed(weights)
    assert gap(engine, trainer, moved, requests, 1.0) > 1e-2, "a stale engine goes unnoticed"
    engine.sync(moved.items())
    assert gap(engine, trainer, moved, requests, 1.0) < TOLERANCE
    engine.sync(weights.items())
    assert gap(engine, trainer, weights, requests, 1.0) < TOLERANCE


def check_bad_sync(
    engine: RolloutEngine, trainer: Trainer, weights: Weights, requests: Sequence[RolloutRequest]
) -> None:
    """A sync that lacks a tensor, has one too many, or one of a wrong shape raises and changes nothing."""
    moved = perturbed(weights)
    name = next(iter(moved))
    for faulty in (
        {n: w for n, w in moved.items() if n != HEAD},
        {n: w for n, w in moved.items() if n != name},
        {**moved, "model.unknown.weight": moved[name]},
        {**moved, name: moved[name][:1]},
    ):
        _raised(ValueError, partial(engine.sync, faulty.items()))
    assert gap(engine, trainer, weights, requests, 1.0) < TOLERANCE


def check_stale_head(
    engine: RolloutEngine, trainer: Trainer, weights: Weights, requests: Sequence[RolloutRequest]
) -> None:
    """An output head left behind, as vLLM does with tied embeddings, shows as a gap above any rounding."""
    moved = perturbed(weights)
    engine.sync({**moved, HEAD: weights[HEAD]}.items())
    assert gap(engine, trainer, moved, requests, 1.0) > 1e-2
    engine.sync(moved.items())
    assert gap(engine, trainer, moved, requests, 1.0) < TOLERANCE


def _raised(kind: type[Exception], call: Callable[[], object]) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__} was raised")


def _ids(rollouts: Sequence[Rollout]) -> list[list[int]]:
    return [rollout.token_ids for rollout in rollouts]
