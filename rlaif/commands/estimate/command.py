"""The command: what is known already, a small run to learn more, the estimate, and afterwards the truth beside it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rlaif import execution
from rlaif.commands.estimate import arithmetic
from rlaif.commands.estimate.knowledge import Knowledge, Source
from rlaif.commands.estimate.needs import Needs, needs
from rlaif.config import RunConfig
from rlaif.pipeline import Plan, heir_of, names_of
from rlaif.ports.asks import SHORT
from rlaif.ports.budget import parse_price
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records import files, usage
from rlaif.records.estimate import Estimate, Measured, Row
from rlaif.records.settings import Lineage
from rlaif.records.store import stored_uses
from rlaif.records.usage import RunUsage, StageUsage
from rlaif.stages import sample

QUESTIONS = 64  # that a critic is asked for a measurement, about


class Result(NamedTuple):
    """An estimate, and what the run took so far."""

    estimate: Estimate
    taken: RunUsage
    before: bool  # the estimate is the one that was made before the run


def estimate(config: RunConfig, folder: Path, price: str | None, measure: int | None, reporter: Reporter) -> Result:
    """What the run will take. Before the run, the estimate is kept in its folder; after it, that one is returned.

    Args:
        price: of paid critics, instead of the run file's.
        measure: prompts to run a small run on first; it costs what it says.

    Raises:
        InputError: the price, the prompts or the constitution is at fault; or as a run, when measuring.
        RunHalted: as a run, when measuring.
    """
    if price is not None:
        parse_price(price, field="--price")
        config = config.model_copy(update={"price": price})
    plan = Plan(config, constitutions.load(config.constitution), folder)
    wanted = needs(plan)
    taken = usage.of_all_rounds(usage.read(folder))
    settings = config.model_dump(mode="json", exclude={"price", "max_cost"})
    identity = files.content_hash(settings, constitutions.content_hash(plan.constitution))
    kept = folder / "logs" / "estimate.json"
    before = files.read_json(kept, Estimate) if kept.is_file() else None
    same = before is not None and before.config == identity
    if before is not None and same and _finished(taken, config) and measure is None and price is None:
        return Result(before, taken, before=True)
    sources = [] if _finished(taken, config) or not taken.stages else [Source(taken, wanted, small=False)]
    measured = None
    if measure is not None:
        source, measured = _measured(plan, wanted, measure, reporter)
        sources.append(source)
    made = _made(plan, wanted, Knowledge(sources), measured, identity)
    measured_before = before is not None and same and before.measured is not None
    if not taken.stages and (measured is not None or not measured_before):  # never a wide one over a narrow one
        files.write_text(kept, json.dumps(made.model_dump(), indent=2) + "\n")
    return Result(made, taken, before=False)


def _made(plan: Plan, wanted: Needs, known: Knowledge, measured: Measured | None, identity: str) -> Estimate:
    reader = arithmetic.Reader()
    rows, lengths = arithmetic.rows(wanted, known, reader, plan.config.price)
    return Estimate(
        config=identity,
        rows=rows,
        stages=arithmetic.stages(plan, wanted, known, rows, lengths),
        measured=measured,
        assumptions=_assumptions(plan, known, reader, rows),
    )


def _measured(plan: Plan, wanted: Needs, count: int, reporter: Reporter) -> tuple[Source, Measured]:
    """A run on a few prompts up to the labels, in a folder that is removed again."""
    config = plan.config
    critics = 1 + len(config.label.more_critics)
    a_pair = sum(ask.calls.high for ask in wanted.asks["label"]) / critics / max(1, wanted.pairs)
    pairs = max(1, min(count, round(QUESTIONS / a_pair)))
    small = config.model_copy(
        update={
            "sample": config.sample.model_copy(update={"prompts": count, "samples_per_prompt": 1}),
            "pairs": config.pairs.model_copy(update={"prompts": pairs, "samples_per_prompt": 2}),
            "label": config.label.model_copy(update={"sources": []}),
        }
    )
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rlaif-estimate-") as name:
        folder = Path(name) / "run"
        execution.execute(small, folder, Engines(reporter), until="label")
        took = _with_stand_ins(Plan(small, plan.constitution, folder), count, reporter)
        own = needs(Plan(small, plan.constitution, folder))
    asked = sum(use.asked for stage in took.stages.values() for use in stage.uses)
    seconds = round(time.monotonic() - begun, 1)
    return Source(took, own, small=True), Measured(prompts=count, calls=asked, seconds=seconds, dollars=took.dollars)


def _with_stand_ins(small: Plan, count: int, reporter: Reporter) -> RunUsage:
    """What a small run took, and the start model's replies in place of those that trained policies will sample."""
    config, took = small.config, usage.read(small.folder)
    engines = Engines(reporter)
    found = {}
    try:
        for stage, purpose, prompts, settings in (
            ("evaluate", "replies of start", "test", config.evaluate),
            ("policy", "rollouts", "train", config.policy),
        ):
            out = small.folder / stage
            own = sample.Config(
                prompts=count, samples_per_prompt=2, temperature=settings.temperature, max_tokens=settings.max_tokens
            )
            source = small.folder / "prompts" / f"{prompts}.jsonl"
            nowhere = Lineage("", {})
            sample.run(
                own, engines, sample.Inputs(source, small.spec(config.model), purpose, config.seed, out, nowhere)
            )
            uses = stored_uses(out / "answers.sqlite")
            found[stage] = StageUsage(finished=False, seconds=sum(use.seconds for use in uses), disk=0, uses=uses)
    finally:
        engines.close()
    return took.model_copy(update={"stages": {**took.stages, **found}})


def _finished(taken: RunUsage, config: RunConfig) -> bool:
    return all(name in taken.stages and taken.stages[name].finished for name in names_of(config))


def _assumptions(plan: Plan, known: Knowledge, reader: arithmetic.Reader, rows: list[Row]) -> list[str]:
    """What the numbers rest on, in words."""
    config = plan.config
    paid = sorted({row.model for row in rows if row.model.partition(":")[0] == arithmetic.PAID})
    said = ["replies to one prompt differ from each other, and nothing fails; what fails is asked again by a rerun"]
    if not known.sources:
        said.append(f"a short reply has {SHORT} tokens, a long one all of its max_tokens; --measure 16 narrows this")
    elif any(source.small for source in known.sources):
        said.append(
            "lengths are means of the measured replies with their 95 % interval; a trained policy is taken to write "
            "like the start model, and to miss it by no more than the revisions do"
        )
    else:
        said.append("lengths and speeds are those of this run so far")
    if reader.guessed:
        said.append(f"{', '.join(sorted(reader.guessed))}: tokenizer not here, a token is taken for 3 to 5 characters")
    if paid and config.label.mode != "votes":
        said.append(
            f"{', '.join(paid)}: whether it gives log-probabilities is found out when it is asked; without them, a "
            f"question takes {config.label.samples} votes"
        )
    if paid:
        price = f"at {config.price} dollars a million tokens" if config.price else "no price: give --price PROMPT/REPLY"
        said.append(f"paid by the token: {', '.join(paid)}, {price}; all other models run on this machine")
    if any(row.calls[0] != row.calls[1] and row.stage == "evaluate" for row in rows):
        said.append("evaluate: where two models reply the same, a comparison is not asked again, perhaps none of them")
    if config.label.escalate:
        said.append(f"{config.label.escalate} gets between none and all of the pairs")
    if heir := heir_of(config):
        said.append(f"label: {heir} writes the labels of every round but the first (policy.guard.takes_over)")
    if config.label.mode == "score":
        said.append("a score of two digits may be read in two passes")
    return said
