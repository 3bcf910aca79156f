"""The stages of a run in order, those of the loop once for every round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlaif.config import RunConfig
from rlaif.pipeline import LOOP, REDTEAM, STAGES, Plan, Stage, feeds_back, heir_of, in_round, names_of
from rlaif.ports.engines import Engines
from rlaif.ports.identity import spec_identity
from rlaif.records import constitution as constitutions
from rlaif.records.settings import Lineage
from rlaif.stages import redteam


def _redteam(plan: Plan, engines: Engines, out: Path, lineage: Lineage) -> list[str]:
    assert plan.config.redteam is not None
    before = plan.rounds[-2]
    inputs = redteam.Inputs(
        train=before.train,
        known=[plan.folder / "prompts" / name for name in ("test.jsonl", "guard.jsonl")],
        policy=plan.spec(str(plan.start)),
        reward=str(before.at("reward/model")),
        constitution=plan.constitution,
        round=plan.round,
        seed=plan.seed,
        out=out,
        lineage=lineage,
    )
    return redteam.run(plan.config.redteam, engines, inputs)


def _redteam_shapes(plan: Plan) -> Any:
    """What an attack depends on besides its parents."""
    config = plan.config.redteam
    assert config is not None
    attacker = spec_identity(config.attacker)
    shapes = config.model_dump(exclude={"attacker"})
    return shapes, attacker, plan.config.engine, constitutions.content_hash(plan.constitution), plan.seed


ATTACK = Stage(
    REDTEAM,
    ("prompts/train.jsonl", "prompts/test.jsonl", "prompts/guard.jsonl", "policy/model", "reward/model"),
    _redteam_shapes,
    _redteam,
)  # of later rounds alone; the last two parents are those of the round before


def stages_of(config: RunConfig, until: str = "report") -> list[Stage]:
    """All stages of a run, in order, up to one: `policy` is that of the last round, the stages before it those of the
    first."""
    known = names_of(config)
    rows = [_known(stage, known) for stage in STAGES if stage.name in known]
    first = next(place for place, stage in enumerate(rows) if stage.name in LOOP)
    after = next(place for place, stage in enumerate(rows) if stage.name == "policy") + 1
    loop = rows[first:after]
    attack = [ATTACK] if config.redteam is not None else []
    later = [_later(stage, number, config) for number in range(2, config.rounds + 1) for stage in (*attack, *loop)]
    policies = tuple(stage.name + "/model" for stage in later if stage.base == "policy")
    rest = [s._replace(needs=s.needs + policies) if s.name == "evaluate" else s for s in rows[after:]]
    found = rows[:after] + later + rest
    places = [place for place, stage in enumerate(found) if stage.base == until]
    return found[: (places[-1] if until == "policy" else places[0]) + 1]


def _known(stage: Stage, names: Sequence[str]) -> Stage:
    """The stage, needing only what the run has."""
    return stage._replace(needs=tuple(need for need in stage.needs if need.split("/")[0] in names))


def _later(stage: Stage, number: int, config: RunConfig) -> Stage:
    """A stage of the loop in a later round."""

    def at(plan: Plan) -> Plan:
        return plan._replace(round=number)

    before_it = stage.name == REDTEAM
    needs = [in_round(need, number - 1 if before_it else number) for need in stage.needs]
    if config.redteam is not None and (number > 2 if before_it else stage.name in ("pairs", "policy")):
        attacked = in_round("redteam/train.jsonl", number - 1 if before_it else number)
        needs = [attacked if need == "prompts/train.jsonl" else need for need in needs]
    if stage.name in ("pairs", "policy"):
        needs = [in_round("policy/model", number - 1) if need == "sft/model" else need for need in needs]
    before = range(1, number)
    if stage.name in ("reward", "cost"):
        needs += [in_round("label/labels.jsonl", earlier) for earlier in before if earlier > 1 or not heir_of(config)]
    if stage.name == "reward":
        needs.append(in_round("reward/model", number - 1))
        needs += [in_round("policy/exploits.jsonl", earlier) for earlier in before if feeds_back(config)]
        needs += [in_round("policy/audited.jsonl", earlier) for earlier in before if heir_of(config)]
    return stage._replace(
        name=in_round(stage.name, number),
        needs=tuple(needs),
        shapes=lambda plan: stage.shapes(at(plan)),
        run=lambda plan, engines, out, lineage: stage.run(at(plan), engines, out, lineage),
    )
