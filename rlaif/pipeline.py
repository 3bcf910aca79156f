"""The run: which stage needs what, which are finished, and what is left to do.

A stage's key is the hash of its settings, of everything else that shapes it, and of its parents' content. A stage whose
key and outputs are unchanged is a no-op, so running the same command again resumes, and an edited run file recomputes
just what depends on the edit.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rlaif.config import RunConfig, check_axes
from rlaif.ports import interrupt
from rlaif.ports.budget import Budget, parse_price
from rlaif.ports.engines import Engines
from rlaif.ports.fitting import Check, Fitting
from rlaif.ports.identity import identity, spec_identity
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import metrics, usage
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import canonical_json, content_hash, write_text
from rlaif.records.inputs import prompt_source
from rlaif.records.run_folder import RunFolder
from rlaif.records.settings import Lineage
from rlaif.records.sources import source_digests
from rlaif.records.store import stored_uses
from rlaif.records.usage import RunUsage, StageUsage
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


def _direct_critic(plan: Plan) -> Any:
    """What the policy stage depends on where the critic itself rewards."""
    if all(term.kind != "critic" for term in plan.config.policy.rewards):
        return None
    return spec_identity(plan.config.critic), constitutions.content_hash(plan.constitution)


def _folders(plan: Plan) -> dict[str, str]:
    models = {"sft": plan.folder / "sft/model", "policy": plan.folder / "policy/model"}
    return {"start": plan.config.model, **{name: str(path) for name, path in models.items()}}


def _evaluate(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    folders = _folders(plan)
    inputs = evaluate.Inputs(
        prompts=plan.folder / "prompts/test.jsonl",
        labels=plan.folder / "label/labels.jsonl",
        models={name: plan.spec(model) for name, model in folders.items()},
        folders=folders,
        constitution=plan.constitution,
        critic=plan.config.critic,
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
        lambda p: (p.config.policy.model_dump(), p.config.seed, _direct_critic(p)),
        _policy,
    ),
    Stage(
        "evaluate",
        ("prompts/test.jsonl", "label/labels.jsonl", "sft/model", "policy/model"),
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


class Timing(NamedTuple):
    """Seconds that a stage took just now; None where it was already finished."""

    stage: str
    seconds: float | None


def execute(
    config: RunConfig, folder: Path, engines: Engines, *, until: str = "report", fresh: bool = False
) -> list[Timing]:
    """Run every stage up to and including `until` that is not finished.

    Raises:
        InputError: anything that the user supplied is wrong, or another process holds the run folder.
        RunHalted: a stage stopped on purpose.
    """
    plan = Plan(config, constitutions.load(config.constitution), folder)
    check_axes(config, plan.constitution, until)
    run_folder = RunFolder(folder)
    if config.threads is not None:
        engines.use_threads(config.threads)
    try:
        if fresh:
            _clear(run_folder)
        usage.read(folder)  # a damaged one is said before anything is asked
        write_text(folder / "config.resolved.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        price = parse_price(config.price) if config.price else None
        engines.budget = Budget(folder / "spend.sqlite", price, config.max_cost)
        with interrupt.draining(engines.reporter.line):
            timings = []
            for stage in (s for s in STAGES[: NAMES.index(until) + 1] if s.name in names_of(config)):
                timings.append(_stage(stage, plan, run_folder, engines))
                if stage.gate is not None:
                    stage.gate(getattr(config, stage.name).check, folder / stage.name, engines.reporter)
            return timings
    finally:
        engines.close()
        run_folder.close()


def _stage(stage: Stage, plan: Plan, folder: RunFolder, engines: Engines) -> Timing:
    shapes = stage.shapes(plan)
    parents = {name: folder.digest(name) for name in stage.needs if name.split("/")[0] in names_of(plan.config)}
    key = folder.stage_key(shapes, parents)
    if folder.finished(stage.name, key):
        engines.reporter.line(f"{stage.name}: finished before, nothing to do")
        return Timing(stage.name, None)
    entry = folder.manifest.stages.get(stage.name)
    if entry is not None:
        why = "its settings changed" if entry.config != canonical_json(shapes) else "what it depends on changed"
        why = why if entry.key != key else "its output was changed or damaged"
        engines.reporter.line(f"{stage.name}: {why}, running again")
    begun = time.monotonic()
    out = folder.path / stage.name
    out.mkdir(exist_ok=True)
    try:
        outputs = stage.run(plan, engines, out, Lineage(content_hash(shapes), parents))
        folder.finish(stage.name, key, canonical_json(shapes), [f"{stage.name}/{name}" for name in outputs])
    except BaseException:
        with suppress(InputError):  # of torn metrics: people must hear what stopped the stage
            _remember(plan, stage.name, engines, time.monotonic() - begun, finished=False)
        raise
    seconds = time.monotonic() - begun
    _remember(plan, stage.name, engines, seconds, finished=True)
    return Timing(stage.name, seconds)


def _clear(folder: RunFolder) -> None:
    """`--fresh`: only what rlaif wrote is removed."""
    folder.manifest_path.unlink(missing_ok=True)
    for name in (*NAMES, "logs"):
        shutil.rmtree(folder.path / name, ignore_errors=True)
    folder.manifest = type(folder.manifest)()


def _remember(plan: Plan, stage: str, engines: Engines, seconds: float, *, finished: bool) -> None:
    """Add an attempt at a stage to `logs/usage.json`. Clocks and counts are kept apart from the artifacts, which do not
    depend on them; this is the file's one writer."""
    known = usage.read(plan.folder)
    out = plan.folder / stage
    rows = metrics.read(out / "metrics.jsonl") if (out / "metrics.jsonl").is_file() else []
    now = StageUsage(
        finished=finished,
        seconds=round((known.stages[stage].seconds if stage in known.stages else 0.0) + seconds, 2),
        disk=usage.folder_size(out),
        steps=max((row.step for row in rows), default=0),
        uses=[
            *(policy.uses(plan.config.policy, rows) if stage == "policy" else []),
            *stored_uses(out / "answers.sqlite"),
        ],
    )
    dollars = None
    if engines.budget is not None and any(engines.budget.price):
        spending = engines.budget.summary()
        dollars = float(spending.spent + spending.reserved)
    written = RunUsage(dollars=dollars, stages={**known.stages, stage: now})
    write_text(plan.folder / "logs" / "usage.json", json.dumps(written.model_dump(), indent=2) + "\n")
