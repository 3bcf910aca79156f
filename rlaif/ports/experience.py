"""What a policy learns from in one update: samples that are drawn, scored, and checked against the trainer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from rlaif.ports.chat import Sampling
from rlaif.ports.learner import PolicyLearner
from rlaif.ports.processes import Processes, slice_of
from rlaif.ports.rewards import Reply, Scores
from rlaif.ports.rollout import RolloutEngine, RolloutRequest
from rlaif.records import seeds
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.prompt import Prompt

if TYPE_CHECKING:
    import torch

    from rlaif.batches import Rollouts, Scored


class Sampled(NamedTuple):
    """Rollouts and the same as text."""

    rollouts: Rollouts
    replies: list[Reply]


class Draw(NamedTuple):
    """How an update's completions are drawn: `size` in all, `group` a prompt, which stand next to each other."""

    size: int
    group: int
    sampling: Sampling
    seed: int


def rows_of(draw: Draw, processes: Processes) -> range:
    """Which of an update's completions this process draws: whole groups, one at least.

    Raises:
        InputError: there are more processes than groups.
    """
    groups = draw.size // draw.group
    if groups < processes.size:
        problem = f"an update of {groups} prompts leaves some of {processes.size} processes without one"
        raise InputError(problem, fix="start fewer processes, or raise policy.batch_size", field="policy.batch_size")
    own = slice_of(groups, processes)
    return range(own.start * draw.group, own.stop * draw.group)


def sample(
    draw: Draw, rows: range, actor: RolloutEngine, learner: PolicyLearner, prompts: Sequence[Prompt], update: int
) -> Sampled:
    """These rows of one update's completions. Prompts come in freshly shuffled passes over the set; what is drawn for a
    row does not depend on who draws it."""
    first = (update - 1) * draw.size // draw.group
    chosen = [prompt_at(prompts, first + number // draw.group, draw.seed) for number in rows]
    seeded = [seeds.derive(draw.seed, f"{update}/{number}", "rollout") for number in rows]
    return replies_to(chosen, seeded, actor, learner, draw.sampling)


def replies_to(
    prompts: Sequence[Prompt], seeded: Sequence[int], actor: RolloutEngine, learner: PolicyLearner, sampling: Sampling
) -> Sampled:
    """One completion of each prompt, drawn with its own seed."""
    from rlaif.batches import Rollouts

    ids = [learner.prompt_ids(prompt.messages) for prompt in prompts]
    drawn = actor.rollout([RolloutRequest(row, seed) for row, seed in zip(ids, seeded, strict=True)], sampling)
    rollouts = Rollouts.from_lists(
        prompts=ids,
        completions=[d.token_ids for d in drawn],
        engine_logprobs=[d.logprobs for d in drawn],
        finished=[d.finished for d in drawn],
        pad_id=learner.pad_id,
    )
    texts = [learner.decode(d.token_ids) for d in drawn]
    lengths = [len(d.token_ids) for d in drawn]
    return Sampled(rollouts, [Reply(p, text, n) for p, text, n in zip(prompts, texts, lengths, strict=True)])


def prompt_at(prompts: Sequence[Prompt], position: int, seed: int) -> Prompt:
    """The prompt at a position of an endless sequence of shuffled passes over the set."""
    epoch, place = divmod(position, len(prompts))
    return prompts[_order(len(prompts), epoch, seed)[place]]


@lru_cache(maxsize=2)  # a batch may reach from one pass into the next
def _order(count: int, epoch: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(seeds.derive(seed, f"epoch-{epoch}", "policy")).shuffle(order)
    return order


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


def joined(scores: Sequence[Scores]) -> Scores:
    """Scores of several batches of responses, one batch after the other."""
    return Scores(
        totals=[total for own in scores for total in own.totals],
        terms={name: [value for own in scores for value in own.terms[name]] for name in scores[0].terms},
        costs=None if scores[0].costs is None else [cost for own in scores for cost in own.costs or ()],
    )


def term_means(scores: Scores, kept: int) -> dict[str, float]:
    """The mean of every term, where there are several, and how many samples were dropped, where some could be."""
    means = {f"reward/{name}": fmean(v for v in own if v is not None) for name, own in scores.terms.items()}
    dropped = {"dropped": float(len(scores.totals) - kept)} if "critic" in scores.terms else {}
    return {**(means if len(means) > 1 else {}), **dropped}


def figures(scored: Scored) -> dict[str, float]:
    """What every algorithm logs of an update's completions."""
    kept, rows = scored.keep_BT, len(scored.keep_BT)
    return {
        "score": float(scored.scores_B.mean()),
        "score_std": float(scored.scores_B.std(correction=0)),
        "kl": float((scored.logprobs_BT - scored.ref_logprobs_BT).masked_fill(~kept, 0.0).sum() / rows),  # k1, a reply
        "tokens": float(kept.sum()) / rows,
        "prompt_tokens": float(scored.prompt_keep_BP.sum()) / rows,
        "finished": float(scored.finished_B.float().mean()),
        "entropy": float(-scored.logprobs_BT.masked_fill(~kept, 0.0).sum() / kept.sum()),  # Monte Carlo, nats a token
    }


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
