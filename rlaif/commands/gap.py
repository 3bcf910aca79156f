"""`rlaif gap`: how much better the replies are that a critic picks than those that a policy writes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rlaif.commands.figures import table
from rlaif.commands.labels import budget
from rlaif.commands.of_run import config_of, model_of, prompts_of
from rlaif.config import RunConfig
from rlaif.critique import gap
from rlaif.ports import interrupt, registry
from rlaif.ports.engines import Engines
from rlaif.ports.reporter import Reporter
from rlaif.ports.user_scorer import UserScorer
from rlaif.records import constitution as constitutions
from rlaif.records.answer import Answer
from rlaif.records.audit import Figure
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import content_hash, write_rows, write_text
from rlaif.records.gap import Gap, GapModel, GapPair, GapRow
from rlaif.records.header import Header
from rlaif.records.label import Label
from rlaif.records.pair import Pair
from rlaif.records.prompt import Prompt
from rlaif.records.run_folder import RunFolder
from rlaif.records.store import AnswerStore
from rlaif.stages import evaluate

OF_RUN = ("sft", "policy")  # whose gap is measured where nobody says so
IN_RUN = ("start", *OF_RUN)


class Options(NamedTuple):
    """What the user said; of a run, what is None is the run's own."""

    run: Path | None
    models: Sequence[str]
    critic: str | None
    constitution: str | None
    prompts: str | None
    judge: str | None
    scorer: str | None
    samples: int
    temperature: float | None
    max_tokens: int | None
    limit: int | None
    seed: int | None
    price: str | None
    max_cost: float | None
    out: Path | None


class Subject(NamedTuple):
    """Everything that is to be measured, checked as far as it can be without loading a model.

    judge: SPEC of the model that says what is better; None where `scorer` does, a reference `module:Class`.
    scores: the critic scores replies one at a time, as it did for the run's labels.
    """

    models: dict[str, str]
    critic: str
    constitution: Constitution
    scores: bool
    prompts: list[Prompt]
    judge: str | None
    scorer: str | None
    samples: int
    drawing: evaluate.Config
    seed: int
    threads: int | None
    price: str | None
    max_cost: float | None
    ledger: Path
    out: Path


def subject(options: Options) -> Subject:
    """What the options and the run, where there is one, come to.

    Raises:
        InputError: something is missing, or names nothing that is there.
    """
    if options.judge is not None and options.scorer is not None:
        raise InputError("there are two judges", fix="give --judge or --scorer", field="--judge")
    config = config_of(options.run) if options.run is not None else None
    critic, constitution = options.critic, options.constitution
    scorer = options.scorer if options.judge is None else None
    out, price, max_cost = options.out, options.price, options.max_cost
    own_money = price is not None or max_cost is not None
    if config is not None and options.run is not None:
        critic, constitution = critic or config.critic, constitution or config.constitution
        scorer = scorer or (None if options.judge else config.evaluate.scorer)
        out, price, max_cost = (
            out or options.run / "gap",
            price or config.price,
            config.max_cost if max_cost is None else max_cost,
        )
    if critic is None or constitution is None or out is None or not (options.models or config):
        fix = "give a run folder, or all of --model, --critic, --constitution, --prompts and --out"
        raise InputError("what to measure is not said", fix=fix)
    if options.judge is None and scorer is None:
        fix = "give --scorer MODULE:CLASS that knows the truth, or --judge ENGINE:MODEL, a critic better than this one"
        raise InputError("nobody says which sample is better", fix=fix)
    critic = str(registry.checked_spec(critic, field="--critic"))
    judge = str(registry.checked_spec(options.judge, field="--judge")) if options.judge else None
    if judge == critic:
        fix = "name another model: a critic always agrees with itself"
        raise InputError("the judge is the critic", fix=fix, field="--judge")
    drawing = config.evaluate if config is not None else evaluate.Config()
    said = {"temperature": options.temperature, "max_tokens": options.max_tokens}
    drawing = drawing.model_copy(update={key: value for key, value in said.items() if value is not None})
    if not 0 < drawing.temperature < math.inf:
        greedy = "greedy samples of a prompt are all the same"
        problem = f"{drawing.temperature} is no temperature" if drawing.temperature else greedy
        raise InputError(problem, fix="give --temperature above 0", field="--temperature")
    return Subject(
        models=models_of(options.run, config, options.models or OF_RUN),
        critic=critic,
        constitution=constitutions.load(constitution),
        scores=config is not None and config.label.mode == "score",
        prompts=prompts_of(options.run, "test", options.prompts, options.limit),
        judge=judge,
        scorer=scorer,
        samples=options.samples,
        drawing=drawing,
        seed=options.seed if options.seed is not None else config.seed if config is not None else 0,
        threads=config.threads if config is not None else None,
        price=price,
        max_cost=max_cost,
        ledger=out if options.run is None or own_money else options.run,
        out=out,
    )


def models_of(run: Path | None, config: RunConfig | None, names: Sequence[str]) -> dict[str, str]:
    """SPEC of each model, by its name in the run or as it was given.

    Raises:
        InputError: one is named twice, or is not there.
    """
    found: dict[str, str] = {}
    for name in names:
        spec = name
        if run is not None and config is not None and name in IN_RUN:
            spec = f"{config.engine}:{config.model if name == 'start' else model_of(run, config, name)}"
        if name in found:
            raise InputError(f"the model {name!r} is named twice", fix="name it once", field="--model")
        found[name] = str(registry.checked_spec(spec, field="--model"))
    return found


def run(asked: Subject, reporter: Reporter) -> Gap:
    """Draw samples of every model, have critic and judge compare them, and write `gap.json` and `gap.jsonl`.

    Raises:
        InputError: a model or the scorer is at fault.
        RunHalted: too many generations or judgements failed.
    """
    scorer = _scorer(asked.scorer)
    lock = RunFolder(asked.out, "gap")
    engines = Engines(reporter)
    store = AnswerStore(asked.out / "answers.sqlite")
    try:
        if asked.threads is not None:
            engines.use_threads(asked.threads)
        engines.budget = budget(asked.ledger, asked.price, asked.max_cost)
        rows: list[GapRow] = []
        measured: list[GapModel] = []
        directions = scorer.direction if scorer else {}
        with interrupt.draining(reporter.line):
            for name in asked.models:
                own, failed = _rows(asked, engines, store, scorer, name)
                left_out = len(asked.prompts) - len(own)
                spec = asked.models[name]
                measured.append(gap.measure(name, spec, own, directions, unsampled=left_out, failed=failed))
                rows += own
        result = Gap(
            critic=asked.critic,
            judge=asked.judge or asked.scorer or "",
            constitution=f"{asked.constitution.name}@{asked.constitution.version}",
            samples=asked.samples,
            temperature=asked.drawing.temperature,
            models=measured,
        )
        parents = {"prompts": content_hash([p.model_dump() for p in asked.prompts])}
        shaped = content_hash(result.model_dump(exclude={"models"}), asked.seed, list(asked.models))
        write_rows(asked.out / "gap.jsonl", Header(kind="gap", config_hash=shaped, parents=parents), rows)
        write_text(asked.out / "gap.json", json.dumps(result.model_dump(), indent=2) + "\n")
        return result
    finally:
        store.close()
        engines.close()
        lock.close()


def _scorer(reference: str | None) -> UserScorer | None:
    if reference is None:
        return None
    scorer = UserScorer(reference, field="--scorer")
    if not scorer.prefers:
        fix = "give it prefer(prompt, a, b, principle_id), which returns 1, 0, 0.5 or None; or give --judge"
        raise InputError("this scorer cannot say which of two replies is better", fix=fix, field="--scorer")
    return scorer


def _rows(
    asked: Subject, engines: Engines, store: AnswerStore, scorer: UserScorer | None, name: str
) -> tuple[list[GapRow], int]:
    """A model's rows, one a prompt of which every sample is there, and how many judgements failed."""
    spec, config = asked.models[name], asked.drawing
    drawn = evaluate.draw(config, engines, spec, asked.prompts, asked.seed, store, name, asked.samples)
    engines.release(spec)
    rows = [
        _row(name, prompt, own, scorer)
        for prompt, own in zip(asked.prompts, drawn, strict=True)
        if all(answer.text is not None for answer in own)
    ]
    pairs = [_as_pair(row, pair) for row in rows for pair in row.pairs]
    critic, failed = _labels(asked, engines, store, asked.critic, pairs, f"{name}: critic", scores=asked.scores)
    said = [label.p for label in critic]
    if asked.judge is not None:
        judge, more = _labels(asked, engines, store, asked.judge, pairs, f"{name}: judge", scores=False)
        truth = [verdict(label) for label in judge]
        failed += more
    else:
        assert scorer is not None  # `subject` asked for one of the two
        prompts = (row.prompt for row in rows for _ in row.pairs)
        truth = [
            evaluate.preferred(scorer, asked.constitution, prompt, pair.responses)
            for prompt, pair in zip(prompts, pairs, strict=True)
        ]
    found = iter(zip(said, truth, strict=True))
    return [
        row.model_copy(update={"pairs": [_filled(pair, *next(found)) for pair in row.pairs]}) for row in rows
    ], failed


def _row(model: str, prompt: Prompt, drawn: Sequence[Answer], scorer: UserScorer | None) -> GapRow:
    """A prompt's samples, with nothing said yet about their pairs."""
    written = [answer.text or "" for answer in drawn]
    texts = list(dict.fromkeys(written))
    scores = [scorer.score(prompt, text) if scorer else {} for text in texts]
    pairs = [GapPair(first=a, second=b) for b in range(len(texts)) for a in range(b)]
    return GapRow(
        model=model,
        prompt=prompt,
        samples=[texts.index(text) for text in written],
        texts=texts,
        scores=scores,
        pairs=pairs,
    )


def _as_pair(row: GapRow, pair: GapPair) -> Pair:
    texts = row.texts[pair.first], row.texts[pair.second]
    name = f"{row.prompt.id}:{pair.first}-{pair.second}"
    return Pair(id=name, messages=row.prompt.messages, responses=texts, meta=row.prompt.meta)


def _labels(
    asked: Subject, engines: Engines, store: AnswerStore, spec: str, pairs: Sequence[Pair], what: str, *, scores: bool
) -> tuple[list[Label], int]:
    return evaluate.judged(engines, spec, asked.constitution, pairs, store, what=what, scores=scores)


def verdict(label: Label) -> float | None:
    """What a judge that is a model finds: 1 the first is better, 0 the second, one half neither, which is also where
    swapping the two changes its mind; None where it gave no answer."""
    if label.p is None or label.p == 0.5 or label.order_consistent is False:
        return None if label.p is None else 0.5
    return float(label.p > 0.5)


def _filled(pair: GapPair, critic: float | None, judge: float | None) -> GapPair:
    return GapPair.model_validate({**pair.model_dump(), "critic": critic, "judge": judge})


def describe(found: Gap) -> str:
    """A block of lines a model: discrimination, then a table of what picking gives."""
    lines = [f"critic {found.critic}, judge {found.judge}, constitution {found.constitution}"]
    for model in found.models:
        lines += ["", f"{model.model}: {found.samples} samples of each of {model.prompts} prompts"]
        lines += [f"the critic finds the better of two samples: {_share(model.discrimination)}", ""]
        lines += table(
            ("", "one sample", "the critic's pick", "the judge's pick", "gap", "closed"),
            [
                (
                    line.name,
                    _value(line.one),
                    _value(line.picked),
                    _value(line.best),
                    _both(line.gap),
                    _closed(line.closed),
                )
                for line in model.lines
            ],
        )
        lines += ["", *_missing(model)]
    return "\n".join(lines).rstrip()


def _missing(model: GapModel) -> list[str]:
    """What the figures leave out, in words."""
    decided = model.pairs - model.ties - model.unjudged
    lines = [f"pairs of different texts: {model.pairs}, of which the judge finds one better in {decided}"]
    said = (
        (model.unjudged, "of which the judge says nothing"),
        (model.uncompared, "of which the critic says nothing"),
    )
    lines += [f"  pairs {words}: {count}" for count, words in said if count]
    if model.failed:
        lines.append(f"  failed judgements: {model.failed}")
    if model.unsampled:
        lines.append(f"  prompts left out, a sample of which failed: {model.unsampled}")
    if model.incomplete:
        lines.append(f"  prompts left out of the table, a judgement of which is missing: {model.incomplete}")
    return lines


def _value(figure: Figure) -> str:
    return "–" if figure.value is None else f"{figure.value:.3f}"


def _both(figure: Figure) -> str:
    if figure.value is None or figure.low is None:
        return "–" if figure.value is None else f"{figure.value:+.3f}"
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"


def _closed(figure: Figure) -> str:
    return "–" if figure.value is None else _share(figure)


def _share(figure: Figure) -> str:
    if figure.value is None:
        return f"– ({figure.reason})"
    return f"{figure.value:.1%}" + ("" if figure.low is None else f" [{figure.low:.1%}, {figure.high:.1%}]")
