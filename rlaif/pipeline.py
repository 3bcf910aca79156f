"""The stages of a run: which needs what, and what it depends on.

A stage's key is the hash of its settings, of everything else that shapes it, and of its parents' content. A stage whose
key and outputs are unchanged is a no-op, so running the same command again resumes, and an edited run file recomputes
just what depends on the edit.

With `rounds: n` the stages from pairs to policy come n times: each round samples the policy of the round before,
labels its replies, learns reward and cost from the labels of all rounds so far, and trains that policy on. Later
rounds' stages are named `round-2/pairs` and so on, and are computed by the rows of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.config import RunConfig
from rlaif.ports.engines import Engines
from rlaif.ports.fitting import Check, Fitting
from rlaif.ports.identity import identity, spec_identity
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import seeds
from rlaif.records.constitution import Constitution
from rlaif.records.inputs import prompt_source
from rlaif.records.settings import Lineage
from rlaif.records.sources import source_digests
from rlaif.stages import audit, cost, evaluate, label, policy, prompts, report, revise, reward, sample, sft


class Plan(NamedTuple):
    """A run file with the things it names looked up, and the round that is spoken of."""

    config: RunConfig
    constitution: Constitution
    folder: Path
    round: int = 1

    @property
    def seed(self) -> int:
        """The run's; later rounds draw otherwise than the first."""
        return self.config.seed if self.round == 1 else seeds.derive(self.config.seed, f"round-{self.round}", "round")

    @property
    def rounds(self) -> list[Plan]:
        """This round and those before it."""
        return [self._replace(round=number) for number in range(1, self.round + 1)]

    @property
    def critic(self) -> str:
        """SPEC of who labels in this round: the run's critic, until the one that audits takes over."""
        heir = heir_of(self.config) if self.round > 1 else None
        return heir or self.config.critic

    @property
    def taught_by(self) -> list[Plan]:
        """The rounds whose labels this round's models learn from: all so far that its own critic labelled."""
        return [own for own in self.rounds if own.critic == self.critic]

    @property
    def start(self) -> Path:
        """The model that the round starts from: the SFT model, or the policy of the round before."""
        return self.folder / "sft/model" if self.round == 1 else self._replace(round=self.round - 1).at("policy/model")

    @property
    def train(self) -> Path:
        """The prompts that the round trains on."""
        attacked = self.config.redteam is not None and self.round > 1
        return self.at("redteam/train.jsonl") if attacked else self.folder / "prompts/train.jsonl"

    def at(self, name: str) -> Path:
        """Where an artifact of the round is."""
        return self.folder / in_round(name, self.round)

    def spec(self, model: str) -> str:
        """SPEC of a policy model under the run's engine."""
        return f"{self.config.engine}:{model}"


LOOP = ("pairs", "label", "audit", "reward", "cost", "policy")  # that every round has
REDTEAM = "redteam"  # that later rounds may have before them


def in_round(name: str, number: int) -> str:
    """What an artifact or a stage is called in a round."""
    return f"round-{number}/{name}" if number > 1 and name.split("/")[0] in (*LOOP, REDTEAM) else name


class Stage(NamedTuple):
    """One row of the table: `shapes` is everything that its outputs depend on besides its parents. A gate says whether
    the run may go on with the outputs; changing what it asks recomputes nothing."""

    name: str
    needs: tuple[str, ...]
    shapes: Callable[[Plan], Any]
    run: Callable[[Plan, Engines, Path, Lineage], list[str]]
    gate: Callable[[Check, Path, Reporter], None] | None = None  # asked whenever the stage is finished, now or before

    @property
    def base(self) -> str:
        """Its name in the first round, which its section of the run file has."""
        return self.name.split("/")[-1]


def _prompts(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    return prompts.run(plan.config.prompts, engines, prompts.Inputs(out, lineage))


def _sample(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    spec = plan.spec(plan.config.model)
    train = plan.folder / "prompts/train.jsonl"
    inputs = sample.Inputs(train, spec, "samples", plan.config.seed, out, lineage)
    done = sample.run(plan.config.sample, engines, inputs)
    if plan.config.revise.model != "policy":
        engines.release(spec)
    return done


def reviser(plan: Plan) -> str:
    """SPEC of the model that critiques and revises."""
    own = plan.config.revise.model
    return plan.spec(plan.config.model) if own == "policy" else own


def _revise(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    samples = plan.folder / "sample/samples.jsonl"
    spec = reviser(plan)
    inputs = revise.Inputs(samples, plan.constitution, spec, plan.config.seed, out, lineage)
    done = revise.run(plan.config.revise, engines, inputs)
    engines.release(spec)
    return done


def _sft(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    revisions = plan.folder / "revise/revisions.jsonl"
    return sft.run(plan.config.sft, engines, sft.Inputs(revisions, plan.config.model, plan.config.seed, out, lineage))


def _pairs(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    spec = plan.spec(str(plan.start))
    done = sample.run(plan.config.pairs, engines, sample.Inputs(plan.train, spec, "pairs", plan.seed, out, lineage))
    engines.release(spec)
    return done


def _label(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    samples = plan.at("pairs/samples.jsonl")
    inputs = label.Inputs(plan.constitution, plan.critic, samples, None, None, plan.seed, out, lineage)
    return label.run(plan.config.label, engines, inputs)


def _audit(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    return audit.run(plan.config.audit, engines, audit.Inputs(plan.at("label"), out))


def _reward(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    backbone = plan.config.reward.backbone or str(plan.folder / "sft/model")
    earlier = plan.rounds[:-1]
    inputs = reward.Inputs(
        labels=[own.at("label/labels.jsonl") for own in plan.taught_by],
        pairs=None,
        limit=None,
        backbone=backbone,
        seed=plan.seed,
        out=out,
        lineage=lineage,
        exploits=[own.at("policy/exploits.jsonl") for own in earlier] if feeds_back(plan.config) else [],
        audited=[own.at("policy/audited.jsonl") for own in earlier] if heir_of(plan.config) else [],
        previous=str(earlier[-1].at("reward/model")) if earlier else None,
    )
    return reward.run(plan.config.reward, engines, inputs)


def feeds_back(config: RunConfig) -> bool:
    """Whether a round's exploits are the next reward model's negatives."""
    return config.policy.guard is not None and config.policy.guard.feedback


def heir_of(config: RunConfig) -> str | None:
    """SPEC of the auditing critic, where it takes over the labels of later rounds."""
    guard = config.policy.guard
    return guard.critic if guard is not None and guard.takes_over else None


def _cost(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    config = plan.config.cost
    assert config is not None
    backbone = config.backbone or str(plan.folder / "sft/model")
    inputs = cost.Inputs([own.at("label/labels.jsonl") for own in plan.taught_by], backbone, plan.seed, out, lineage)
    return cost.run(config, engines, inputs)


def _fitted(config: Fitting | None, seed: int) -> Any:
    """What shapes a model that is learnt from labels; the check after it does not."""
    assert config is not None
    return config.model_dump(exclude={"check"}), identity(config.backbone) if config.backbone else None, seed


def _policy(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    folder = plan.folder
    inputs = policy.Inputs(
        prompts=plan.train,
        heldout=folder / "prompts/guard.jsonl",
        model=str(plan.start),
        reward=str(plan.at("reward/model")),
        cost=str(plan.at("cost/model")) if plan.config.cost else None,
        constitution=plan.constitution,
        critic=plan.config.critic,
        seed=plan.seed,
        out=out,
        lineage=lineage,
    )
    return policy.run(plan.config.policy, engines, inputs)


SHAPELESS = ("guard", "canary_limit", "checkpoint_every")  # of a policy: the guard counts apart, where there is one


def _policy_shapes(plan: Plan) -> Any:
    """A critic that rewards counts by what it holds, not by where it lies."""
    asked = [term.critic or plan.config.critic for term in plan.config.policy.rewards if term.kind == "critic"]
    direct = [(spec_identity(spec), constitutions.content_hash(plan.constitution)) for spec in asked]
    shapes = plan.config.policy.model_dump(
        exclude={"rewards": {"__all__": {"critic"}}, **dict.fromkeys(SHAPELESS, True)}
    )
    guard = plan.config.policy.guard
    if guard is None:
        return shapes, plan.seed, direct or None
    auditor = spec_identity(guard.critic or plan.config.critic)
    audited = auditor, constitutions.content_hash(plan.constitution), _prompt_sets(plan)
    return shapes, plan.seed, direct or None, guard.model_dump(exclude={"critic", "feedback", "takes_over"}), audited


def model_folders(plan: Plan) -> dict[str, str]:
    last = plan._replace(round=plan.config.rounds)
    rounds = {f"round-{own.round}": str(own.at("policy/model")) for own in last.rounds[:-1]}
    own = {"sft": str(plan.folder / "sft/model"), **rounds, "policy": str(last.at("policy/model"))}
    return {"start": plan.config.model, **own}


def _evaluate(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    folders = model_folders(plan)
    inputs = evaluate.Inputs(
        prompts=plan.folder / "prompts/test.jsonl",
        labels=plan.folder / "label/labels.jsonl",
        models={name: plan.spec(model) for name, model in folders.items()},
        folders=folders,
        reward=str(plan.folder / "reward/model"),
        constitution=plan.constitution,
        critic=plan.config.critic,
        scores=plan.config.label.mode == "score",
        seed=plan.config.seed,
        out=out,
        lineage=lineage,
    )
    return evaluate.run(plan.config.evaluate, engines, inputs)


def _report(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    inputs = report.Inputs(
        name=plan.config.name,
        seed=plan.config.seed,
        simulation=plan.config.simulation,
        constitution=plan.constitution,
        critic=plan.config.critic,
        rollout_engine=plan.config.policy.engine or plan.config.engine,
        guard=plan.config.policy.guard,
        stages=[name for name in _all_names(plan.config) if name != "report"],
        folder=plan.folder,
        out=out,
    )
    return report.run(plan.config.report, engines, inputs)


def _all_names(config: RunConfig) -> list[str]:
    """Names of a run's stages, those of the loop once for every round."""
    rounds = range(1, config.rounds + 1)
    return list(dict.fromkeys(in_round(name, number) for number in rounds for name in names_of(config)))


def _prompt_sets(plan: Plan) -> Any:
    own = plan.config.prompts
    return own.model_dump(), [identity(prompt_source(name)) for name in (own.train, own.test)]


STAGES = (
    Stage("prompts", (), _prompt_sets, _prompts),
    Stage(
        "sample",
        ("prompts/train.jsonl",),
        lambda p: (p.config.sample.model_dump(), p.config.engine, identity(p.config.model), p.config.seed),
        _sample,
    ),
    Stage(
        "revise",
        ("sample/samples.jsonl",),
        lambda p: (
            p.config.revise.model_dump(exclude={"model"}),
            spec_identity(reviser(p)),
            constitutions.revision_hash(p.constitution),
            p.config.seed,
        ),
        _revise,
    ),
    Stage(
        "sft",
        ("revise/revisions.jsonl",),
        lambda p: (p.config.sft.model_dump(), identity(p.config.model), p.config.seed),
        _sft,
    ),
    Stage(
        "pairs",
        ("prompts/train.jsonl", "sft/model"),
        lambda p: (p.config.pairs.model_dump(), p.config.engine, p.seed),
        _pairs,
    ),
    Stage(
        "label",
        ("pairs/samples.jsonl",),
        lambda p: (
            p.config.label.model_dump(),
            source_digests(p.config.label.sources),
            spec_identity(p.critic),
            constitutions.content_hash(p.constitution),
        ),
        _label,
    ),
    Stage(
        "audit",
        ("label/labels.jsonl", "label/labelling.json", "label/summary.json"),
        lambda p: (p.config.audit.model_dump(), identity(p.config.audit.gold) if p.config.audit.gold else None),
        _audit,
    ),
    Stage(
        "reward",
        ("label/labels.jsonl", "sft/model"),
        lambda p: _fitted(p.config.reward, p.seed),
        _reward,
        reward.gate,
    ),
    Stage(
        "cost",
        ("label/labels.jsonl", "sft/model"),
        lambda p: _fitted(p.config.cost, p.seed),
        _cost,
        cost.gate,
    ),
    Stage(
        "policy",
        ("prompts/train.jsonl", "sft/model", "reward/model", "cost/model"),
        _policy_shapes,
        _policy,
    ),
    Stage(
        "evaluate",
        ("prompts/test.jsonl", "label/labels.jsonl", "sft/model", "reward/model", "policy/model"),
        lambda p: (
            p.config.evaluate.model_dump(),
            p.config.engine,
            identity(p.config.model),
            spec_identity(p.config.critic),
            constitutions.content_hash(p.constitution),
            p.config.seed,
        ),
        _evaluate,
    ),
    Stage(
        "report",
        (
            "evaluate/evaluation.json",
            "audit/audit.json",
            "label/labels.jsonl",
            "label/judgements.jsonl",
            "label/labelling.json",
            "label/summary.json",
            "reward/summary.json",
            "reward/model",
            "cost/summary.json",
            "revise/revisions.jsonl",
            "sft/metrics.jsonl",
            "policy/metrics.jsonl",
        ),
        lambda p: (p.config.report.model_dump(), p.config.name, p.config.simulation, p.constitution.summary),
        _report,
    ),
)
NAMES = tuple(stage.name for stage in STAGES)


def names_of(config: RunConfig) -> list[str]:
    """Names of the stages of a run's first round and of what is around it; `cost` only if there is such a section."""
    return [name for name in NAMES if name != "cost" or config.cost is not None]
