"""What a policy learns from in one update: samples that are drawn, scored, and checked against the trainer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from rlaif.ports.chat import Sampling
from rlaif.ports.learner import PolicyLearner
from rlaif.ports.rewards import Reply, Scores
from rlaif.ports.rollout import RolloutEngine, RolloutRequest
from rlaif.records import seeds
from rlaif.records.errors import RunHalted
from rlaif.records.prompt import Prompt

if TYPE_CHECKING:
    import torch

    from rlaif.batches import Rollouts


class Sampled(NamedTuple):
    """An update's rollouts and the same as text."""

    rollouts: Rollouts
    replies: list[Reply]


class Draw(NamedTuple):
    """How an update's completions are drawn: `size` in all, `group` a prompt, which stand next to each other."""

    size: int
    group: int
    sampling: Sampling
    seed: int


def sample(draw: Draw, actor: RolloutEngine, learner: PolicyLearner, prompts: Sequence[Prompt], update: int) -> Sampled:
    """One update's completions. Prompts come in freshly shuffled passes over the set."""
    from rlaif.batches import Rollouts

    first = (update - 1) * draw.size // draw.group
    chosen = [prompt_at(prompts, first + number // draw.group, draw.seed) for number in range(draw.size)]
    ids = [learner.prompt_ids(p.messages) for p in chosen]
    requests = [
        RolloutRequest(row, seeds.derive(draw.seed, f"{update}/{number}", "rollout")) for number, row in enumerate(ids)
    ]
    drawn = actor.rollout(requests, draw.sampling)
    rollouts = Rollouts.from_lists(
        prompts=ids,
        completions=[d.token_ids for d in drawn],
        engine_logprobs=[d.logprobs for d in drawn],
        finished=[d.finished for d in drawn],
        pad_id=learner.pad_id,
    )
    texts = [learner.decode(d.token_ids) for d in drawn]
    lengths = [len(d.token_ids) for d in drawn]
    return Sampled(rollouts, [Reply(p, text, n) for p, text, n in zip(chosen, texts, lengths, strict=True)])


def prompt_at(prompts: Sequence[Prompt], position: int, seed: int) -> Prompt:
    """The prompt at a position of an endless sequence of shuffled passes over the set."""
    epoch, place = divmod(position, len(prompts))
    order = list(range(len(prompts)))
    random.Random(seeds.derive(seed, f"epoch-{epoch}", "policy")).shuffle(order)
    return prompts[order[place]]


def whole_groups(totals: Sequence[float | None], group: int) -> list[int]:
    """The rows to learn from, those that have a score: one that is missing takes its whole group along, because groups
    are compared within.

    Raises:
        RunHalted: nothing is left.
    """
    missing = {row // group for row, total in enumerate(totals) if total is None}
    kept = [row for row in range(len(totals)) if row // group not in missing]
    if not kept:
        raise RunHalted("no sample of this update has a score, because the critic failed on all; nothing was learnt")
    return kept


def term_means(scores: Scores, kept: int) -> dict[str, float]:
    """The mean of every term, where there are several, and how many samples were dropped, where some could be."""
    means = {f"reward/{name}": fmean(v for v in own if v is not None) for name, own in scores.terms.items()}
    dropped = {"dropped": float(len(scores.totals) - kept)} if "critic" in scores.terms else {}
    return {**(means if len(means) > 1 else {}), **dropped}


def canary(rollouts: Rollouts, logprobs_BT: torch.Tensor, limit: float, update: int) -> float:
    """The largest |log mu - log pi_old| (nats) over the fresh rollouts: 0 to rounding where the engine really holds the
    trainer's weights.

    Raises:
        RunHalted: it is above `limit`: the engine samples from another policy than the one being trained.
    """
    gap = float((rollouts.engine_logprobs_BT - logprobs_BT).abs().masked_fill(~rollouts.keep_BT, 0.0).max())
    if not gap <= limit:
        raise RunHalted(
            f"sync canary: at update {update} the rollout engine's log-probabilities differ from the trainer's by up "
            f"to {gap:.3g} nats (limit {limit:.3g}), so its weights are not the policy's. Weights and samples of this "
            "update are discarded; the last checkpoint stands. Raise policy.canary_limit only for half precision"
        )
    return gap
