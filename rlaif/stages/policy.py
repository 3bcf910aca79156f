"""reward model + SFT policy -> aligned policy: rollouts, scores, algorithm, optimiser steps, weight sync, canary.

One update: (1) the rollout engine gets the trainer's weights, (2) samples, (3) the trainer recomputes the samples'
log-probabilities and the canary compares the two, (4) reference, values and scores are added, (5) the algorithm turns
them into a training batch, (6) the learner takes its optimiser steps. Everything random is seeded by update and row, so
a run resumed from a checkpoint draws what the uninterrupted run would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from rlaif.ports import auditing, guarding, interrupt, registry
from rlaif.ports import rewards as rewarding
from rlaif.ports.algorithm import Algorithm
from rlaif.ports.asks import Ask, Range, examples, reply_length
from rlaif.ports.auditing import Auditor, Judge
from rlaif.ports.chat import Sampling
from rlaif.ports.checkpoint import Checkpoints
from rlaif.ports.engines import Engines
from rlaif.ports.experience import Draw, canary, figures, joined, rows_of, sample, term_means, whole_groups
from rlaif.ports.guarding import QUIET, Guardian
from rlaif.ports.halt import Halt
from rlaif.ports.learner import Optimisation, PolicyLearner
from rlaif.ports.rewards import Critic, Models, Rewards, Scores
from rlaif.ports.rollout import RolloutEngine
from rlaif.records import metrics, seeds
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows
from rlaif.records.guard import Guard
from rlaif.records.prompt import Prompt
from rlaif.records.rewards import ModelTerm, RewardTerm, distinct
from rlaif.records.settings import Lineage, Training
from rlaif.records.usage import Use

if TYPE_CHECKING:
    import torch

    from rlaif.batches import Rollouts, Scored


METRICS = "metrics.jsonl"


class Config(Training):
    """`settings` are those of the algorithm, for example rlaif.algorithms.ppo.Config."""

    algorithm: str = Field(
        default="ppo", description="how the policy learns: ppo, ppo_lagrangian, rloo, superhf or best_of_n"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="of the algorithm, see rlaif/algorithms/; only a run checks them, not this schema",
    )
    rewards: Annotated[list[RewardTerm], AfterValidator(distinct)] = Field(
        default=[ModelTerm()], description="what is maximised: terms that are weighted and added up"
    )
    engine: str | None = Field(default=None, description="what samples, vllm or hf; the run's `engine` where not given")
    updates: int = Field(default=100, ge=1, description="rounds of sampling and learning")
    batch_size: int = Field(default=64, ge=1, description="completions an update")
    temperature: float = Field(default=1.0, gt=0, description="of sampling")
    max_tokens: int = Field(default=96, ge=1, description="longest reply")
    value_learning_rate: float = Field(default=1e-5, gt=0, description="of value models, where there are some")
    value_network: Literal["separate", "shared"] = Field(
        default="separate", description="values by models of their own, or by heads on the policy: less memory and time"
    )
    canary_limit: float = Field(
        default=1e-3,
        gt=0,
        description="nats between sampler and trainer that stop the run; half precision needs more: watch canary_gap",
    )
    old_logprobs: Literal["trainer", "engine"] = Field(
        default="trainer",
        description="who says log pi_old: the trainer, computing it again; or the engine, checked on a part",
    )
    checkpoint_every: int = Field(default=20, ge=1, description="updates between checkpoints")
    guard: Guard | None = Field(default=None, description="audits of the policy by the critic while it trains")


class Inputs(NamedTuple):
    prompts: Path
    heldout: Path  # prompts that the guard audits on
    model: str
    reward: str
    cost: str | None  # folder of the cost model, where the run has one
    constitution: Constitution  # by which the critic scores and audits, where it does
    critic: str
    seed: int
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `model/`, `metrics.jsonl`, now and then `checkpoint/`, the full state, and `halted/`, the batch of an
    update that ended with a number that is not finite. A guard's files: `rlaif.ports.guarding`.

    Raises:
        InputError: a reward function fails, or returns no number.
        RunHalted: the canary parts, too many judgements failed, a number is not finite, or the guard says so.
    """
    algorithm: Algorithm = registry.load("algorithm", config.algorithm)
    settings = algorithm.Config(**config.settings)
    check_batch(config, settings)
    guarding.check(config.guard, inputs.constitution, config.algorithm, algorithm, settings)
    prompts = read_rows(inputs.prompts, Prompt, "prompts")
    learner = _learner(config, engines, inputs, algorithm, settings)
    actor = engines.rollout(config.engine or "auto", inputs.model)
    draw = Draw(config.batch_size, group_size(settings), Sampling(config.temperature, config.max_tokens), inputs.seed)
    rows = rows_of(draw, processes := engines.processes)
    beside = [inputs.out / name for name in (METRICS, *guarding.OUTPUTS)]
    checkpoints = Checkpoints(inputs.out / "checkpoint", config.algorithm, inputs.lineage, beside)
    done, state = _resume(checkpoints, learner, engines, algorithm.start(settings))
    halt = Halt(inputs.out / "halted", checkpoints, processes)
    with (
        closing(_rewards(config, engines, inputs, constrained="cost_values" in algorithm.NEEDS)) as rewards,
        engines.tracker(inputs.out, keep_until=done) as tracker,
    ):
        guardian = _guardian(config, engines, inputs, rewards, actor, learner, done)
        for update in range(done + 1, config.updates + 1):
            if guardian and guardian.ended:
                break
            with halt.watching(update, state) as seen:
                if algorithm.SAMPLER == "policy":
                    actor.sync(learner.weights())
                sampled = sample(draw, rows, actor, learner, prompts, update)
                seen.rows, seen.replies, seen.tensors = rows, sampled.replies, sampled.rollouts
                own = rewards.score(sampled.replies)
                scores = joined(processes.gather(own))
                kept = whole_groups(scores.totals, draw.group)
                mine = [row - rows.start for row in kept if row in rows]
                as_sampled = config.old_logprobs == "engine" and algorithm.SAMPLER == "policy"
                part = view(learner, sampled.rollouts, own, mine, as_sampled=as_sampled) if mine else None
                scored = together(processes.gather(part))
                replies = [reply for part in processes.gather(sampled.replies) for reply in part]
                seen.rows, seen.replies, seen.tensors = kept, [replies[row] for row in kept], scored
                gap = canary(*compared(scored, learner, algorithm, config, update), config.canary_limit, update)
                state, logged = learn(algorithm, settings, learner, scored, state, inputs.seed, update)
                heard = guardian.after(update, actor, learner) if guardian else QUIET
                state = heard.applied(state)
                logged |= {"canary_gap": gap, **term_means(scores, len(kept)), **heard.logged}
                tracker.log(update, logged)
                _show(config, engines, update, logged)
                due = update % config.checkpoint_every == 0 or update == config.updates
                if processes.rank == 0 and (due or heard.urgent or interrupt.requested()):
                    _checkpoint(checkpoints, learner, scored, update, state)
                interrupt.heed()
            if guardian:
                guardian.stop(heard)
    save = guardian.restore if guardian and guardian.ended else learner.save
    save(inputs.out / "model")
    engines.close_rollout(actor)
    return ["model", METRICS, *(guarding.OUTPUTS if guardian else [])]


def _learner(config: Config, engines: Engines, inputs: Inputs, algorithm: Algorithm, settings: Any) -> PolicyLearner:
    steps = config.updates * settings.epochs * settings.minibatches
    learner: PolicyLearner = engines.learner(
        "policy",
        model=inputs.model,
        needs=algorithm.NEEDS,
        value_models={"values": inputs.reward, **({"cost_values": inputs.cost} if inputs.cost else {})},
        shared_values=config.value_network == "shared",
        optimisation=Optimisation.of(config, steps),
        value_learning_rate=config.value_learning_rate,
        temperature=config.temperature,
        seed=seeds.derive(inputs.seed, "value", "policy"),
    )
    for note in learner.notes:
        engines.reporter.line(f"policy: {note}")
    return learner


def _show(config: Config, engines: Engines, update: int, logged: dict[str, float]) -> None:
    shown: dict[str, float | str] = {k: f"{logged[k]:.3f}" for k in ("score", "kl", "tokens", "canary_gap")}
    engines.reporter.progress(config.algorithm, update, config.updates, shown)


def _rewards(config: Config, engines: Engines, inputs: Inputs, *, constrained: bool) -> Rewards:
    critic = Critic(inputs.critic, inputs.constitution, inputs.out / "answers.sqlite")
    models = Models(inputs.reward, inputs.cost)
    return Rewards(config.rewards, engines, models, critic, constrained=constrained)


def _guardian(
    config: Config,
    engines: Engines,
    inputs: Inputs,
    rewards: Rewards,
    actor: RolloutEngine,
    learner: PolicyLearner,
    done: int,
) -> Guardian | None:
    """The guard, where there is one; `actor` still holds the weights that training started from."""
    guard = config.guard
    if guard is None or guard.every > config.updates:
        return None
    main = engines.processes.rank == 0
    prompts = read_rows(inputs.heldout, Prompt, "prompts")[: guard.prompts]
    store = inputs.out / "answers.sqlite"
    judge = Judge(engines.chat(guard.critic or inputs.critic), inputs.constitution, store) if main else None
    sampling = Sampling(config.temperature, config.max_tokens)
    auditor = Auditor(judge, engines, rewards, prompts, sampling, inputs.seed)
    auditor.begin(actor, learner)
    return Guardian(guard, auditor, inputs.out, inputs.lineage, done, engines.reporter, main=main)


def group_size(settings: Any) -> int:
    """Samples a prompt that the algorithm asks for; they stand next to each other in every batch."""
    return getattr(settings, "group_size", 1)


def check_batch(config: Config, settings: Any) -> None:
    """Make sure that a batch holds whole groups, and a prompt for every minibatch.

    Raises:
        InputError: it does not.
    """
    group, size = group_size(settings), config.batch_size
    if size % group:
        problem = f"a batch of {size} completions does not divide into groups of {group} samples a prompt"
        fix = f"use a multiple of {group}, such as {max(1, size // group) * group}"
        raise InputError(problem, fix=fix, field="policy.batch_size")
    if size // group < settings.minibatches:
        problem = f"{settings.minibatches} minibatches of {size // group} prompts leave some empty"
        raise InputError(problem, fix="raise policy.batch_size, or lower minibatches", field="policy.batch_size")


def compared(
    scored: Scored, learner: PolicyLearner, algorithm: Algorithm, config: Config, update: int
) -> tuple[Scored, torch.Tensor]:
    """Rows, and what the trainer says of them, for the canary: all, or where the engine's word stands, some of them."""
    import torch

    if algorithm.SAMPLER == "reference":
        return scored, scored.ref_logprobs_BT
    if config.old_logprobs == "trainer":
        return scored, scored.logprobs_BT
    count = len(scored.scores_B)
    some = scored.select((torch.arange(min(count, config.micro_batch)) + update * config.micro_batch) % count)
    return some, learner.logprobs(some)


def view(
    learner: PolicyLearner, rollouts: Rollouts, scores: Scores, kept: list[int], *, as_sampled: bool = False
) -> Scored:
    """The kept rows with the trainer's view of them, as rich as the algorithm needs; `as_sampled` takes the engine's
    word for their log-probabilities."""
    import torch

    rollouts = rollouts.select(torch.tensor(kept))
    scored = rollouts.scored(
        logprobs_BT=rollouts.engine_logprobs_BT if as_sampled else learner.logprobs(rollouts),
        ref_logprobs_BT=learner.reference_logprobs(rollouts),
        scores_B=torch.tensor([scores.totals[row] for row in kept], dtype=torch.float32),
    )
    values = learner.values(rollouts)
    if scores.costs is not None:
        costs_B = torch.tensor([scores.costs[row] for row in kept], dtype=torch.float32)
        return scored.costed(costs_B=costs_B, **values)
    return scored.valued(**values) if values else scored


def together(parts: Sequence[Scored | None]) -> Scored:
    """What all processes have scored, in the order of rows that one process would have; a part may be empty."""
    from rlaif.batches import concatenate

    return concatenate([part for part in parts if part is not None])


def learn(
    algorithm: Algorithm,
    settings: Any,
    learner: PolicyLearner,
    scored: Scored,
    state: dict[str, float],
    seed: int,
    update: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Preparation and optimiser steps of one update; the algorithm's next state, and what to log."""
    import torch

    batch = algorithm.prepare(scored, settings, state)
    observed = algorithm.observe(batch)
    loss = partial(algorithm.loss, config=settings)
    shuffle = torch.Generator().manual_seed(seeds.derive(seed, str(update), "minibatches"))
    rows = len(batch.keep_BT)
    stats: list[dict[str, float]] = []
    for _ in range(settings.epochs):
        order = torch.randperm(rows, generator=shuffle)
        stats += [
            learner.step(batch.select(part), loss) for part in order.tensor_split(min(rows, settings.minibatches))
        ]
    logged = {
        **figures(scored),
        **state,
        **{name: value for name, value in observed._asdict().items() if value is not None},
        **{name: _over_steps(name, [s[name] for s in stats]) for name in stats[0]},
    }
    return algorithm.after_step(state, observed, len(scored.scores_B), settings), logged


def asks(config: Config, prompts: list[Prompt], model: str, critic: str, constitution: Constitution) -> list[Ask]:
    """What the rollouts will take, of these prompts, and the critic where it rewards them."""
    calls = config.updates * config.batch_size
    shown = examples(prompts)
    rows = (len(shown), len(prompts))
    read = [p.messages for p in shown]
    reply = reply_length(config.max_tokens)
    found = [Ask("rollouts", model, Range.exactly(calls), read, {}, reply, rows, writes="rollouts")]
    for term in config.rewards:
        if term.kind == "critic":
            found += rewarding.asks(shown, rows, term.critic or critic, constitution, calls)
    if config.guard is not None and config.guard.every <= config.updates:
        audits = config.updates // config.guard.every
        auditor = config.guard.critic or critic
        found += auditing.asks(audits, config.guard.prompts, shown, rows, auditor, constitution)
    return found


def uses(config: Config, rows: Sequence[metrics.Row]) -> list[Use]:
    """What the rollouts took, by the stage's metrics; updates that a resumed run repeated count once, and samples that
    were dropped are taken to be as long as the others."""
    size = config.batch_size
    totals = {
        name: sum(round(row.values.get(name, 0.0) * size) for row in rows) for name in ("prompt_tokens", "tokens")
    }
    return [
        Use(
            purpose="rollouts",
            model=f"{config.engine}:policy",
            asked=size * len(rows),
            prompt_tokens=totals["prompt_tokens"],
            completion_tokens=totals["tokens"],
        )
    ]


def _over_steps(name: str, values: list[float]) -> float:
    return max(values) if name.endswith("_max") else sum(values) / len(values)


def _checkpoint(
    checkpoints: Checkpoints,
    learner: PolicyLearner,
    scored: Scored,
    update: int,
    state: dict[str, float],
) -> None:
    """The learner's state and the loop's. Weights may be finite and still too large to compute with, so networks are
    asked about some rows first: nobody shall go on from such a checkpoint."""
    import torch

    from rlaif.batches import require_finite

    some = scored.select(torch.arange(min(len(scored.scores_B), 16)))
    for name, found_BT in {"logprobs_BT": learner.logprobs(some), **learner.values(some)}.items():
        require_finite(f"{name} after the update", found_BT, some.keep_BT)
    checkpoints.save(update, state, learner.save_state)


def _resume(
    checkpoints: Checkpoints, learner: PolicyLearner, engines: Engines, start: dict[str, float]
) -> tuple[int, dict[str, float]]:
    """Where to go on, in all processes as the main one finds it: after a checkpoint's update, or from the beginning."""
    main = engines.processes.rank == 0
    found = engines.processes.gather(checkpoints.latest(start) if main else None)[0]
    assert found is not None
    if found.note:
        engines.reporter.line(f"policy: {found.note}")
    if found.folder is not None:
        learner.load_state(found.folder)
        if main:
            checkpoints.put_back(found)
    return found.update, found.state
