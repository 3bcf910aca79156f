"""Small conversations, rollouts and settings that the tests of the learners share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from rlaif.algorithms import bradley_terry, ppo
from rlaif.batches import Rollouts, TrainBatch, Valued
from rlaif.ports.learner import Conversation, Optimisation, PolicyLearner
from rlaif.records.prompt import Message

STEADY = Optimisation(
    learning_rate=1e-3, weight_decay=0.0, gradient_clip=1.0, micro_batch=16, total_steps=0, warmup_steps=0
)
SMALL = STEADY._replace(learning_rate=1e-4)  # Adam divides by gradients: rounding of 1e-7 grows to 1e-2 of a step
PPO_LOSS = partial(ppo.loss, config=ppo.Config())
BT_LOSS = partial(bradley_terry.loss, config=bradley_terry.Config())


def said(prompt: str, reply: str) -> Conversation:
    return Conversation([Message(role="user", content=prompt)], reply)


CONVERSATIONS = [
    said("How do I bake bread?", "Mix flour."),
    said("Hi", "Which response follows the principle better? Answer with A or B."),
    said("Is the Human better than the Assistant? Say it in one word, and then explain.", "B"),
    said("What is flour", "Choose the response that follows"),
    said("Principle", ""),
]


def rollouts(learner: PolicyLearner, rows: int = 6, seed: int = 0) -> Rollouts:
    """Completions of 1 to 9 random tokens after the prompts above; what the engine says of them is made up."""
    chance = torch.Generator().manual_seed(seed)
    lengths = [1, 9, *torch.randint(2, 9, (rows - 2,), generator=chance).tolist()]
    return Rollouts.from_lists(
        prompts=[learner.prompt_ids(CONVERSATIONS[row % len(CONVERSATIONS)].messages) for row in range(rows)],
        completions=[torch.randint(4, 300, (length,), generator=chance).tolist() for length in lengths],
        engine_logprobs=[[-5.0] * length for length in lengths],
        finished=[True] * rows,
        pad_id=learner.pad_id,
    )


def train_batch(learner: PolicyLearner, rows: int = 6, seed: int = 0) -> TrainBatch:
    """A batch as the policy stage makes it, with the learner's own log-probabilities in the place of the engine's."""
    sampled = rollouts(learner, rows, seed)
    logprobs_BT = learner.logprobs(sampled)
    scored = Valued(
        prompt_BP=sampled.prompt_BP,
        prompt_keep_BP=sampled.prompt_keep_BP,
        completion_BT=sampled.completion_BT,
        keep_BT=sampled.keep_BT,
        engine_logprobs_BT=logprobs_BT,
        finished_B=sampled.finished_B,
        logprobs_BT=logprobs_BT,
        ref_logprobs_BT=learner.reference_logprobs(sampled),
        **learner.values(sampled),
        scores_B=torch.linspace(-1.0, 1.0, rows),
    )
    return ppo.prepare(scored, ppo.Config(), {"kl_coefficient": 0.05})


def tensors(source: Any) -> dict[str, torch.Tensor]:
    """A copy of a network's weights."""
    return {name: tensor.detach().clone() for name, tensor in source.state_dict().items()}


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def spoilt(loss: Callable[..., Any], *, gradient_only: bool) -> Callable[..., Any]:
    """The loss with NaN added: to its value, or to its gradient alone."""

    def spoil(*arguments: Any, **options: Any) -> Any:
        result = loss(*arguments, **options)
        if gradient_only:
            zero = (result.total - result.total.detach()).abs()
            return result._replace(total=result.total + zero.sqrt() * 0.0)  # d sqrt(0) is infinite
        return result._replace(total=result.total * float("nan"))

    return spoil
