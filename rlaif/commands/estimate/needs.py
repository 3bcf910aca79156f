"""What the stages of a run will ask and write, put together as the pipeline puts the stages together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rlaif import pipeline
from rlaif.ports import fitting
from rlaif.ports.asks import Ask, Range
from rlaif.records.dataset import is_test
from rlaif.records.pairing import schedule
from rlaif.records.prompt import Prompt
from rlaif.records.settings import Lineage
from rlaif.stages import evaluate, label, policy, prompts, redteam, revise, reward, sample, sft


class Needs(NamedTuple):
    """`asks` and `steps` by stage.

    sampled, paired: prompts that are sampled, for revision and for pairs, in all rounds.
    pairs: that are labelled, in all rounds.
    """

    train: list[Prompt]
    test: list[Prompt]
    sampled: int
    paired: int
    pairs: int
    asks: dict[str, list[Ask]]
    steps: dict[str, Range]


def needs(plan: pipeline.Plan) -> Needs:
    """Everything that a run will ask, from its file and its prompts alone.

    Raises:
        InputError: the prompts are at fault, or the constitution cannot revise.
    """
    config, constitution = plan.config, plan.constitution
    train, test = prompts.read(config.prompts)
    # The policy's tokenizer is the start model's; where it will lie does not matter here.
    spec = plan.spec(config.model)
    sampled, paired = sample.spread(train, config.sample.prompts), sample.spread(train, config.pairs.prompts)
    earlier = [f"round-{number}" for number in range(1, config.rounds)]
    models = {name: spec for name in ("start", "sft", *earlier, "policy")}
    asks = {
        "sample": sample.asks(config.sample, train, spec, "samples"),
        "revise": revise.asks(
            *(config.revise, constitution, config.seed, pipeline.reviser(plan), sampled),
            config.sample.samples_per_prompt,
        ),
        "pairs": sample.asks(config.pairs, train, spec, "pairs"),
        "label": _labelling(plan, paired),
        "policy": policy.asks(
            *(config.policy, train, f"{config.policy.engine}:{config.model}", config.critic, constitution)
        ),
        "evaluate": evaluate.asks(
            *(config.evaluate, constitution, config.critic, models, test), scores=config.label.mode == "score"
        ),
    }
    most, responses = config.label.most_pairs, config.pairs.samples_per_prompt
    pairs = {p.id: len(schedule(responses, most, config.seed, p.id)) for p in paired}
    to_train = sum(pairs[p.id] for p in paired if not is_test([m.model_dump() for m in p.messages]))
    n = config.rounds
    taught = [len(own.taught_by) for own in plan._replace(round=n).rounds]  # rounds whose labels each learns from
    steps = {
        "sft": Range.exactly(sft.steps_of(config.sft, len(sampled) * config.sample.samples_per_prompt)),
        "reward": Range.exactly(sum(reward.steps_of(config.reward, k * to_train) for k in taught)),
        "policy": Range.exactly(n * config.policy.updates),
    }
    if config.cost is not None:
        steps["cost"] = Range.exactly(sum(fitting.steps_of(config.cost, k * to_train) for k in taught))
    for stage in ("pairs", "policy"):
        asks[stage] = [ask._replace(calls=ask.calls.times(n)) for ask in asks[stage]]
    if config.redteam is not None:
        asks["pairs"] += redteam.asks(config.redteam, constitution, train, spec, config.seed, n - 1)
    return Needs(train, test, len(sampled), n * len(paired), n * sum(pairs.values()), asks, steps)


def _labelling(plan: pipeline.Plan, paired: Sequence[Prompt]) -> list[Ask]:
    """Of all rounds, whoever labels in each."""
    config = plan.config
    critics = Counter(own.critic for own in plan._replace(round=config.rounds).rounds)
    own = label.Inputs(plan.constitution, "", None, None, None, config.seed, plan.folder, Lineage("", {}))
    return [
        ask._replace(calls=ask.calls.times(rounds))
        for critic, rounds in critics.items()
        for ask in label.asks(config.label, own._replace(critic=critic), paired, config.pairs.samples_per_prompt)
    ]
