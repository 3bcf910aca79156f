"""The stages of a run: which needs what, and what it depends on.

A stage's key is the hash of its settings, of everything else that shapes it, and of its parents' content. A stage whose
key and outputs are unchanged is a no-op, so running the same command again resumes, and an edited run file recomputes
just what depends on the edit.
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
from rlaif.records.constitution import Constitution
from rlaif.records.inputs import prompt_source
from rlaif.records.settings import Lineage
from rlaif.records.sources import source_digests
from rlaif.stages import audit, cost, evaluate, label, policy, prompts, report, revise, reward, sample, sft


class Plan(NamedTuple):
    """A run file with the things it names looked up."""

    config: RunConfig
    constitution: Constitution
    folder: Path

    def spec(self, model: str) -> str:
        """SPEC of a policy model under the run's engine."""
        return f"{self.config.engine}:{model}"


class Stage(NamedTuple):
    """One row of the table: `shapes` is everything that its outputs depend on besides its parents. A gate says whether
    the run may go on with the outputs; changing what it asks recomputes nothing."""

    name: str
    needs: tuple[str, ...]
    shapes: Callable[[Plan], Any]
    run: Callable[[Plan, Engines, Path, Lineage], list[str]]
    gate: Callable[[Check, Path, Reporter], None] | None = None  # asked whenever the stage is finished, now or before


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
    spec = plan.spec(str(plan.folder / "sft/model"))
    train = plan.folder / "prompts/train.jsonl"
    done = sample.run(plan.config.pairs, engines, sample.Inputs(train, spec, "pairs", plan.config.seed, out, lineage))
    engines.release(spec)
    return done


def _label(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    samples = plan.folder / "pairs/samples.jsonl"
    inputs = label.Inputs(plan.constitution, plan.config.critic, samples, None, None, plan.config.seed, out, lineage)
    return label.run(plan.config.label, engines, inputs)


def _audit(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    return audit.run(plan.config.audit, engines, audit.Inputs(plan.folder / "label", out))


def _reward(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    backbone = plan.config.reward.backbone or str(plan.folder / "sft/model")
    labels = plan.folder / "label/labels.jsonl"
    inputs = reward.Inputs(labels, None, None, backbone, plan.config.seed, out, lineage)
    return reward.run(plan.config.reward, engines, inputs)


def _cost(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    config = plan.config.cost
    assert config is not None
    backbone = config.backbone or str(plan.folder / "sft/model")
    inputs = cost.Inputs(plan.folder / "label/labels.jsonl", backbone, plan.config.seed, out, lineage)
    return cost.run(config, engines, inputs)


def _fitted(config: Fitting | None, seed: int) -> Any:
    """What shapes a model that is learnt from labels; the check after it does not."""
    assert config is not None
    return config.model_dump(exclude={"check"}), identity(config.backbone) if config.backbone else None, seed


def _policy(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    folder = plan.folder
    inputs = policy.Inputs(
        prompts=folder / "prompts/train.jsonl",
        heldout=folder / "prompts/guard.jsonl",
        model=str(folder / "sft/model"),
        reward=str(folder / "reward/model"),
        cost=str(folder / "cost/model") if plan.config.cost else None,
        constitution=plan.constitution,
        critic=plan.config.critic,
        seed=plan.config.seed,
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
        return shapes, plan.config.seed, direct or None
    audited = spec_identity(plan.config.critic), constitutions.content_hash(plan.constitution), _prompt_sets(plan)
    return shapes, plan.config.seed, direct or None, guard.model_dump(), audited


def _folders(plan: Plan) -> dict[str, str]:
    return {"start": plan.config.model, **{name: str(plan.folder / name / "model") for name in ("sft", "policy")}}


def _evaluate(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    folders = _folders(plan)
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
        folder=plan.folder,
        out=out,
        lineage=lineage,
    )
    return report.run(plan.config.report, engines, inputs)


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
        lambda p: (p.config.pairs.model_dump(), p.config.engine, p.config.seed),
        _pairs,
    ),
    Stage(
        "label",
        ("pairs/samples.jsonl",),
        lambda p: (
            p.config.label.model_dump(),
            source_digests(p.config.label.sources),
            spec_identity(p.config.critic),
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
        lambda p: _fitted(p.config.reward, p.config.seed),
        _reward,
        reward.gate,
    ),
    Stage(
        "cost",
        ("label/labels.jsonl", "sft/model"),
        lambda p: _fitted(p.config.cost, p.config.seed),
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
            "label/labels.jsonl",
            "label/summary.json",
            "reward/summary.json",
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
    """Names of a run's stages: `cost` only where there is such a section."""
    return [name for name in NAMES if name != "cost" or config.cost is not None]
