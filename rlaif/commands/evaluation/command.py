"""Evaluates a model against baselines: replies first, model by model, then comparisons, prompt set by prompt set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rlaif.commands.evaluation import answering, contestants
from rlaif.commands.evaluation.answering import Answered, Drawing
from rlaif.commands.evaluation.comparing import Judge, couples, kl, sides
from rlaif.commands.evaluation.contestants import Run
from rlaif.commands.evaluation.distrust import distrust
from rlaif.commands.labels import budget
from rlaif.critique import bradley_terry, evaluated
from rlaif.critique.agreement import score
from rlaif.ports import interrupt, registry
from rlaif.ports.chat import Sampling
from rlaif.ports.engines import Engines
from rlaif.ports.identity import spec_identity
from rlaif.ports.panel import Panel
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records.audit import Figure
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.evaluation import (
    Against,
    Contestant,
    EvaluationResult,
    Ratings,
    SetResult,
    Training,
    Verdict,
)
from rlaif.records.files import content_hash, file_digest, write_rows, write_text
from rlaif.records.labelling import Labelling
from rlaif.records.run_folder import MANIFEST, RunFolder
from rlaif.records.settings import Lineage
from rlaif.records.store import AnswerStore
from rlaif.records.tasks import Recorded, TaskSet, read_recorded, read_sets

TEMPERATURE, MAX_TOKENS = 1.0, 512  # of replies, where neither the user nor a run says
STORED = ("answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm")


Met = dict[tuple[str, str], list[Verdict]]  # of one prompt set: whoever met whom


class Wanted(NamedTuple):
    """What is to be evaluated, as the user says it; None is what a run, or else a default, says."""

    model: str
    against: list[str]
    prompts: list[str]
    constitution: str | None
    critic: str | None
    out: Path
    run: Path | None = None
    limit: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    round_robin: bool = False
    seed: int = 0
    price: str | None = None
    max_cost: float | None = None
    fresh: bool = False


class _Match(NamedTuple):
    """Everything that was said, looked up and checked."""

    contestants: list[Contestant]
    outputs: dict[str, Recorded]  # of recorded contestants
    sets: list[TaskSet]
    constitution: Constitution
    critic: str
    training: Training | None
    trained: set[str] | None  # content hashes of the principles of training
    sampling: Sampling


def evaluate(wanted: Wanted, config: Labelling, reporter: Reporter) -> EvaluationResult:
    """Write `evaluation.json`, `replies.jsonl` and `verdicts.jsonl` into `wanted.out`. What is stored there of an
    earlier attempt is not asked again.

    Args:
        config: how the critic is asked, and how many answers may fail.

    Raises:
        InputError: bad input. Nothing was asked.
        RunHalted: too many answers failed, or the budget is spent.
    """
    match = _looked_up(wanted, reporter)
    with ExitStack() as closing:
        closing.callback(RunFolder(wanted.out, "evaluate").close)
        if wanted.fresh:
            for name in STORED:
                (wanted.out / name).unlink(missing_ok=True)
        engines = Engines(reporter)
        closing.callback(engines.close)
        engines.budget = budget(wanted.out, wanted.price, wanted.max_cost)
        closing.callback(engines.budget.close)
        store = AnswerStore(wanted.out / "answers.sqlite")
        closing.callback(store.close)
        closing.enter_context(interrupt.draining(reporter.line))
        return _evaluated(wanted, match, config, engines, store)


def _looked_up(wanted: Wanted, reporter: Reporter) -> _Match:
    run = contestants.read_run(wanted.run) if wanted.run is not None else None
    if (wanted.out.absolute().parent / MANIFEST).is_file():
        raise InputError("this folder is a stage of a run", file=wanted.out, fix="give another folder with --out")
    who = contestants.parse(wanted.model, wanted.against, run)
    constitution = wanted.constitution or (run.config.constitution if run else None)
    critic = wanted.critic or (run.config.critic if run else None)
    if not who[1:] or not wanted.prompts or constitution is None or critic is None:
        fix = "give --model, --against, --prompts, --constitution and --critic; --run says the last two"
        raise InputError("what to evaluate is not all said", fix=fix)
    loaded = constitutions.load(constitution) if wanted.constitution or run is None else run.constitution
    critic = str(registry.checked_spec(critic, field="--critic"))
    sets = read_sets(wanted.prompts, wanted.limit)
    outputs = {one.name: read_recorded(one.source, sets) for one in who if one.recorded}
    for name, read in outputs.items():
        _say_recorded(name, read, sets, reporter)
    trained = {p.content_hash for p in run.constitution.principles} if run else None
    training = _training(run, loaded, critic) if run else None
    return _Match(who, outputs, sets, loaded, critic, training, trained, _sampling(wanted, run))


def _sampling(wanted: Wanted, run: Run | None) -> Sampling:
    """As the run evaluates, where nothing else is said."""
    temperature, most = TEMPERATURE, MAX_TOKENS
    if run is not None:
        temperature, most = run.config.evaluate.temperature, run.config.evaluate.max_tokens
    return Sampling(
        temperature if wanted.temperature is None else wanted.temperature,
        most if wanted.max_tokens is None else wanted.max_tokens,
    )


def _training(run: Run, constitution: Constitution, critic: str) -> Training:
    trained = {p.content_hash for p in run.constitution.principles}
    return Training(
        constitution=f"{run.constitution.name}@{run.constitution.version}",
        critic=run.config.critic,
        same_critic=spec_identity(run.config.critic)[1] == spec_identity(critic)[1],
        held_out=[p.id for p in constitution.principles if p.content_hash not in trained],
    )


def _say_recorded(name: str, read: Recorded, sets: Sequence[TaskSet], reporter: Reporter) -> None:
    """What a file of outputs lacks, and what it has too much."""
    for own in sets:
        missing = [task.id for task in own.written if task.id not in read.replies[own.name]]
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            reporter.line(f"{name}: no output for {len(missing)} of {len(own.written)} prompts of {own.name}: {shown}")
    if read.unmatched:
        reporter.line(f"{name}: {read.unmatched} of {read.rows} outputs answer no prompt of these sets")
    if read.empty:
        reporter.line(f"{name}: {read.empty} outputs are null, which is no reply")


def _evaluated(
    wanted: Wanted, match: _Match, config: Labelling, engines: Engines, store: AnswerStore
) -> EvaluationResult:
    lineage = _lineage(wanted, match, config)
    # An endpoint may not be there: better to know before anything is written. Other critics share memory with models.
    early = match.critic.startswith("openai:")
    panel = Panel.assemble(config, engines, match.critic, store) if early else None
    answered = _answered(wanted, match, config, engines, store)
    rows = [row for by_model in answered.values() for one in by_model.values() for row in one.rows]
    write_rows(wanted.out / "replies.jsonl", lineage.header("evaluated replies"), rows)
    divergences = {own.name: _divergences(match, engines, answered[own.name]) for own in match.sets if own.written}
    met: dict[str, Met] = {own.name: {} for own in match.sets}
    mode: str = config.mode
    if divergences:
        panel = panel or Panel.assemble(config, engines, match.critic, store)
        seat = panel.voters[0]
        mode = seat.reading.mode if mode != "score" else mode
        judge = Judge(
            seat.asking.model, seat.reading, config, match.constitution, store, engines.reporter, engines.budget
        )
        met |= {name: _met(wanted, match, judge, name, answered[name]) for name in divergences}
    verdicts = [verdict for by_pair in met.values() for own in by_pair.values() for verdict in own]
    write_rows(wanted.out / "verdicts.jsonl", lineage.header("evaluation verdicts"), verdicts)
    result = EvaluationResult(
        model=match.contestants[0].name,
        contestants=match.contestants,
        critic=match.critic,
        mode=mode,
        constitution=f"{match.constitution.name}@{match.constitution.version}",
        constitution_hash=constitutions.content_hash(match.constitution),
        training=match.training,
        temperature=match.sampling.temperature,
        max_tokens=match.sampling.max_tokens,
        seed=wanted.seed,
        sets=[
            _set(wanted, match, own, met[own.name], answered[own.name], divergences.get(own.name, {}))
            for own in match.sets
        ],
        distrust=[],
    )
    result = result.model_copy(update={"distrust": distrust(result)})
    write_text(wanted.out / "evaluation.json", json.dumps(result.model_dump(), indent=2, sort_keys=True) + "\n")
    return result


def _answered(
    wanted: Wanted, match: _Match, config: Labelling, engines: Engines, store: AnswerStore
) -> dict[str, dict[str, Answered]]:
    """By prompt set and model. Every model is loaded once."""
    drawing = Drawing(match.sampling, wanted.seed, config.max_failure_rate)
    found: dict[str, dict[str, Answered]] = {own.name: {} for own in match.sets}
    for one in match.contestants:
        if one.recorded:
            answered = answering.recorded(one, match.sets, match.outputs[one.name])
        else:
            answered = answering.ask(engines, one, match.sets, drawing, store)
            if one.source != match.critic:
                engines.release(one.source)
        for name, own in answered.items():
            found[name][one.name] = own
    return found


def _divergences(match: _Match, engines: Engines, answered: Mapping[str, Answered]) -> dict[str, Figure]:
    """KL of the model from every baseline. It is computed before the critic is loaded: memory may not hold both."""
    model, *others = match.contestants
    rows, temperature = answered[model.name].rows, match.sampling.temperature
    return {other.name: kl(engines, model, other, rows, temperature) for other in others}


def _met(wanted: Wanted, match: _Match, judge: Judge, name: str, answered: Mapping[str, Answered]) -> Met:
    language = match.constitution.language
    return {
        (a, b): judge.verdicts(name, (a, b), list(sides(answered[a].rows, answered[b].rows, language)))
        for a, b in couples(list(answered), round_robin=wanted.round_robin)
    }


def _set(
    wanted: Wanted,
    match: _Match,
    own: TaskSet,
    met: Met,
    answered: Mapping[str, Answered],
    divergences: Mapping[str, Figure],
) -> SetResult:
    """Everything about one prompt set."""
    tasks = own.written
    categories = {task.id: task.category for task in tasks if task.category is not None}
    comparisons: list[Against] = []
    for (a, b), rows in met.items():
        absent = {name: sum(row.replies is None for row in answered[name].rows) for name in (a, b)}
        found = evaluated.against((a, b), rows, match.constitution, match.trained, categories, absent)
        of_model = divergences[b] if a == match.contestants[0].name else None
        comparisons.append(found.model_copy(update={"kl": of_model}))
    return SetResult(
        name=own.name,
        digest=own.digest,
        prompts=len(tasks),
        questions=len(own.questions),
        dialogues=sum(bool(task.turns) for task in tasks),
        replies=[
            evaluated.replies(name, tasks, one.rows, wanted.seed).model_copy(update={"choices": one.choices})
            for name, one in answered.items()
        ],
        comparisons=comparisons,
        ratings=_ratings(met, list(answered), wanted.seed) if tasks and len(answered) > 2 else None,
    )


def _ratings(met: Met, names: list[str], seed: int) -> Ratings:
    games: dict[str, list[bradley_terry.Game]] = {}
    for (a, b), rows in met.items():
        for row in rows:
            if row.p is not None:
                games.setdefault(row.prompt_id, []).append((a, b, score(row.p, 0)))
    return bradley_terry.ratings(games, names, seed)


def _lineage(wanted: Wanted, match: _Match, config: Labelling) -> Lineage:
    shaped = content_hash(
        match.sampling, wanted.seed, config.model_dump(), constitutions.content_hash(match.constitution), match.critic
    )
    parents = {own.name: own.digest for own in match.sets}
    files = {one.name: file_digest(Path(one.source).expanduser()) for one in match.contestants if one.recorded}
    return Lineage(shaped, {**parents, **{f"outputs of {name}": digest for name, digest in files.items()}})
