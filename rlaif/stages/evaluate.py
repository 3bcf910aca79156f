"""start, SFT and final policy -> evaluation: held-out replies, judged by the critic and, where there is one, an oracle.

With `best_of: n` there is a fourth row: of n samples of the SFT policy, the one that the reward model scores best. That
takes no training, and is what a trained policy has to be better than.

The critic here is the one that wrote the labels, so its win rate says whether PPO did what the labels asked for, not
whether that was right; the scorer (in tinyworld, the oracle) is independent of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import Field, model_validator

from rlaif.critique import aggregate, degeneracy, diversity
from rlaif.critique.agreement import score, wilson
from rlaif.critique.compare import questions
from rlaif.ports import answers, judging
from rlaif.ports.asks import Ask, Range, examples, reply_length
from rlaif.ports.chat import GenerateRequest, Sampling
from rlaif.ports.engines import Engines
from rlaif.ports.judging import Reading
from rlaif.ports.learner import Conversation, RewardScorer
from rlaif.ports.user_scorer import UserScorer
from rlaif.records import seeds
from rlaif.records.agreement import Interval
from rlaif.records.answer import Answer
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows, write_rows, write_text
from rlaif.records.label import Label
from rlaif.records.pair import Pair
from rlaif.records.prompt import Prompt
from rlaif.records.report import BeforeAfter, BestOf, Comparison, Evaluation, Mean, ModelEvaluation
from rlaif.records.settings import Lineage, Settings
from rlaif.records.store import AnswerStore

METEOR_PAIRS = 500  # of replies to different prompts: a standard error below 0.01, in half a second


class Config(Settings):
    """`scorer` is a user's own judge of replies, `module:Class`: `score(prompt, reply) -> {name: number}`;
    optionally `direction = {name: 1 or -1}` says which way is better, and `prefer(prompt, a, b, principle_id) -> 1, 0,
    0.5 or None` is what labels are checked against."""

    temperature: float = Field(default=1.0, ge=0, description="of sampling; 0 is greedy")
    max_tokens: int = Field(default=96, ge=1, description="longest reply")
    scorer: str | None = Field(default=None, description="your own judge of replies, module:Class")
    shown: int = Field(default=12, ge=0, description="before/after samples in the report")
    best_of: int | None = Field(
        default=None,
        ge=2,
        description="also the best of so many SFT samples a prompt, by the reward model; not if absent",
    )

    @model_validator(mode="after")
    def _samples_differ(self) -> Config:
        if self.best_of is not None and self.temperature == 0:
            raise ValueError("best_of needs a temperature above 0: greedy samples are all the same")
        return self


class Inputs(NamedTuple):
    prompts: Path
    labels: Path
    models: dict[str, str]  # name -> SPEC: start, sft, round-1 and so on where there are several, policy
    folders: dict[str, str]  # name -> model folder
    reward: str  # folder of the reward model
    constitution: Constitution
    critic: str
    scores: bool  # the critic scores replies one at a time, as it did for the labels, instead of comparing them
    seed: int
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `evaluation.json` and `replies.jsonl`.

    Raises:
        InputError: the scorer is at fault.
        RunHalted: too many generations or judgements failed.
    """
    scorer = UserScorer(config.scorer, field="evaluate.scorer") if config.scorer else None
    prompts = read_rows(inputs.prompts, Prompt, "prompts")
    store = AnswerStore(inputs.out / "answers.sqlite")
    replies = _replies(config, engines, inputs, prompts, store)
    answered = [p for p in prompts if all(p.id in by_prompt for by_prompt in replies.values())]
    rows = [
        before_after(prompt, {name: by_prompt[prompt.id] for name, by_prompt in replies.items()}, scorer)
        for prompt in answered
    ]
    if not rows:
        raise InputError("no held-out prompt got a reply from every model", fix="see the failures in the answer store")
    written = [Conversation(row.messages, row.replies["policy"]) for row in rows]
    ended = [replies["policy"][prompt.id].finished for prompt in answered]
    evaluation = Evaluation(
        models=[
            figures(name, rows, fmean(by_prompt[p.id].finished for p in answered), inputs.seed)
            for name, by_prompt in replies.items()
        ],
        comparisons=[_compare(engines, inputs, rows, store, a, b) for a, b in comparisons(config, inputs.models)],
        kl=divergence(engines, inputs.folders["policy"], inputs.folders["sft"], written, ended, config.temperature),
        best_of=bound(config.best_of) if config.best_of else None,
        oracle_direction=scorer.direction if scorer else {},
        labels_oracle=_labels_oracle(read_rows(inputs.labels, Label, "labels"), inputs.constitution, scorer),
        samples=rows[: config.shown],
    )
    store.close()
    write_rows(inputs.out / "replies.jsonl", inputs.lineage.header("replies"), rows)
    write_text(inputs.out / "evaluation.json", json.dumps(evaluation.model_dump(), indent=2, sort_keys=True) + "\n")
    return ["evaluation.json", "replies.jsonl"]


def comparisons(config: Config, models: Iterable[str]) -> list[tuple[str, str]]:
    """Models that the critic compares, the first with the second: the policy also with those of earlier rounds."""
    rounds = [("policy", name) for name in models if name.startswith("round-")]
    best = [("policy", best_name(config.best_of))] if config.best_of else []
    return [("policy", "sft"), ("policy", "start"), ("sft", "start"), *rounds, *best]


def best_name(n: int) -> str:
    """What the row of best-of-n is called."""
    return f"best-of-{n}"


def bound(n: int) -> BestOf:
    """Best-of-n, with how far it can be from what it samples."""
    from rlaif.formulas import kl  # loads torch

    return BestOf(name=best_name(n), n=n, kl_bound=kl.best_of_n(n))


def asks(
    config: Config,
    constitution: Constitution,
    critic: str,
    models: dict[str, str],
    prompts: Sequence[Prompt],
    *,
    scores: bool,
) -> list[Ask]:
    """What `run` will ask of the models and of the critic, if every prompt gets a reply from every model.

    Where two models give the same reply, which is common after little training, a later comparison has been asked
    before: of the first one all is asked, of the others perhaps nothing.
    """
    total = Range.exactly(len(prompts))
    read = [p.messages for p in examples(prompts)]
    reply = reply_length(config.max_tokens)
    written_by = {name: (spec, total) for name, spec in models.items()}
    if config.best_of:
        written_by[best_name(config.best_of)] = models["sft"], total.times(config.best_of)
    replies = {name: f"replies of {name}" for name in written_by}
    rows = (len(read), len(prompts))
    found = [
        Ask(replies[name], spec, calls, read, {}, reply, rows, writes=replies[name])
        for name, (spec, calls) in written_by.items()
    ]
    shown = [Pair(id=p.id, messages=p.messages, responses=("", "")) for p in examples(prompts)]
    asked = [q for pair in shown for q in questions(pair, constitution, scores=scores)]
    most = len(prompts) * len(asked) / len(shown)
    for number, (a, b) in enumerate(comparisons(config, models)):
        count = Range(0 if number else most, most)
        written = (replies[a], replies[b])
        found += judging.asks(f"{a} against {b}", critic, asked, rows, count, "auto", Reading("logprob"), written)
    return found


def _replies(
    config: Config, engines: Engines, inputs: Inputs, prompts: Sequence[Prompt], store: AnswerStore
) -> dict[str, dict[str, Answer]]:
    """Every model's replies by prompt, without those that failed."""
    written: dict[str, list[Answer]] = {}
    for name, spec in inputs.models.items():
        written[name] = [one for (one,) in draw(config, engines, spec, prompts, inputs.seed, store, name)]
        if name == "sft" and config.best_of:
            best = best_name(config.best_of)
            samples = draw(config, engines, spec, prompts, inputs.seed, store, best, config.best_of)
            written[best] = choose(engines.learner("reward_scorer", model=inputs.reward), prompts, samples)
        engines.release(spec)
    return {
        name: {prompt.id: answer for prompt, answer in zip(prompts, own, strict=True) if answer.text is not None}
        for name, own in written.items()
    }


def draw(
    config: Config,
    engines: Engines,
    spec: str,
    prompts: Sequence[Prompt],
    seed: int,
    store: AnswerStore,
    name: str,
    n: int = 1,
) -> list[list[Answer]]:
    """`n` samples of each prompt by a model.

    Raises:
        RunHalted: too many failed.
    """
    # The same seeds for every model: what differs is the model.
    roles = ["evaluate"] if n == 1 else [f"evaluate-{number}" for number in range(n)]
    requests = [GenerateRequest(p.messages, seeds.derive(seed, p.id, role)) for p in prompts for role in roles]
    sampling = Sampling(config.temperature, config.max_tokens)
    model, what = engines.chat(spec), f"replies of {name}"
    written = answers.generations(model, requests, sampling, store, engines.reporter, what=what)
    return [list(own) for own in answers.blocks(written, n)]


def choose(scorer: RewardScorer, prompts: Sequence[Prompt], samples: Sequence[Sequence[Answer]]) -> list[Answer]:
    """Of each prompt's samples the one that scores best, the first of equals. A prompt of which a sample is missing has
    none: the best of fewer would be another method."""
    chosen = [next((answer for answer in own if answer.text is None), None) for own in samples]
    rows = [
        Conversation(prompt.messages, answer.text or "")
        for prompt, own, missing in zip(prompts, samples, chosen, strict=True)
        for answer in own
        if missing is None
    ]
    scores = iter(scorer.score(rows))
    return [
        max(own, key=lambda _: next(scores)) if missing is None else missing
        for own, missing in zip(samples, chosen, strict=True)
    ]


def before_after(prompt: Prompt, written: dict[str, Answer], scorer: UserScorer | None) -> BeforeAfter:
    """Every model's reply to a prompt, with what the scorer says of it."""
    replies = {name: answer.text or "" for name, answer in written.items()}
    oracle = {name: scorer.score(prompt, reply) for name, reply in replies.items()} if scorer else {}
    return BeforeAfter(prompt_id=prompt.id, messages=prompt.messages, replies=replies, oracle=oracle)


def figures(name: str, rows: Sequence[BeforeAfter], finished: float, seed: int) -> ModelEvaluation:
    """What one model's replies look like, and what the scorer said of them."""
    replies = [row.replies[name] for row in rows]
    said: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.oracle.get(name, {}).items():
            said.setdefault(key, []).append(value)
    return ModelEvaluation(
        name=name,
        samples=len(replies),
        words=fmean(len(r.split()) for r in replies),
        finished=finished,
        distinct=degeneracy.distinct(replies),
        distinct_2=degeneracy.distinct_n(replies, 2),
        longest_repeat=fmean(degeneracy.longest_repeat(r) for r in replies),
        meteor=diversity.across_prompts(replies, METEOR_PAIRS, seeds.derive(seed, "meteor", "evaluate")),
        oracle={key: Mean(value=fmean(values), n=len(values)) for key, values in sorted(said.items())},
    )


def _compare(
    engines: Engines, inputs: Inputs, rows: Sequence[BeforeAfter], store: AnswerStore, model: str, against: str
) -> Comparison:
    pairs = [
        Pair(id=row.prompt_id, messages=row.messages, responses=(row.replies[model], row.replies[against]))
        for row in rows
    ]
    what = f"{model} against {against}"
    labels, failed = judged(engines, inputs.critic, inputs.constitution, pairs, store, what=what, scores=inputs.scores)
    by_axis = {axis: [x.axes[axis].p for x in labels] for axis in inputs.constitution.axes}
    return Comparison(
        model=model,
        against=against,
        win_rate=_win_rate([x.p for x in labels]),
        axes={axis: _win_rate(values) for axis, values in by_axis.items()},
        failed=failed,
    )


def judged(
    engines: Engines,
    critic: str,
    constitution: Constitution,
    pairs: Sequence[Pair],
    store: AnswerStore,
    *,
    what: str,
    scores: bool,
) -> tuple[list[Label], int]:
    """A critic's label of each pair, in both orders, and how many of its judgements failed.

    Args:
        scores: it scores responses one at a time instead of comparing them.

    Raises:
        RunHalted: more than a tenth failed.
    """
    model = engines.chat(critic)
    asking = answers.Asking(model, store, engines.reporter, what=what, max_failure_rate=0.1)
    reading = Reading(judging.choose("auto", model)[0])
    labels: list[Label] = []
    done = failed = 0
    size = max(1, model.block // (2 * len(constitution.principles)))
    for block in answers.blocks(pairs, size):
        asked = [list(questions(pair, constitution, scores=scores)) for pair in block]
        found = judging.judge(asking, [q for own in asked for q in own], reading)
        rest = iter(found)
        labels += [
            aggregate.label(pair, constitution, list(islice(rest, len(own))))
            for pair, own in zip(block, asked, strict=True)
        ]
        done += len(found)
        reasons = [j.reason for j in found if j.status == "failed"]
        failed += len(reasons)
        asking.count_failures(failed, done, reasons[-1] if reasons else None)
        asking.progress(len(labels), len(pairs))
    return labels, failed


def _win_rate(probabilities: Sequence[float | None]) -> Interval:
    wins = [score(p, 0) for p in probabilities if p is not None]
    return wilson(sum(wins), len(wins))


def divergence(
    engines: Engines,
    model: str,
    reference: str,
    rows: Sequence[Conversation],
    ended: Sequence[bool],
    temperature: float,
) -> float | None:
    """E[log model - log reference] a reply, in nats, over the model's own samples, at the sampling temperature (k1);
    None at temperature 0, where there are no samples. Arguments as of `log_ratios`."""
    return None if temperature == 0 else fmean(log_ratios(engines, model, reference, rows, ended, temperature))


def log_ratios(
    engines: Engines,
    model: str,
    reference: str,
    rows: Sequence[Conversation],
    ended: Sequence[bool],
    temperature: float,
) -> list[float]:
    """log model - log reference of each reply, in nats.

    Args:
        model, reference: folders.
        ended: which replies ended by themselves; the others have no EOS that was sampled.
        temperature: above 0.
    """
    own, other = (
        engines.learner("likelihood", model=folder, temperature=temperature).logprobs(rows, ended)
        for folder in (model, reference)
    )
    return [a - b for a, b in zip(own, other, strict=True)]


def _labels_oracle(labels: Sequence[Label], constitution: Constitution, scorer: UserScorer | None) -> Interval | None:
    """Labels that agree with the scorer's own weighted preference, over pairs where it prefers one side."""
    if scorer is None or not scorer.prefers:
        return None
    correct = []
    for label in labels:
        prompt = Prompt(id=label.pair.id, messages=label.pair.messages, meta=label.pair.meta)
        truth = preferred(scorer, constitution, prompt, label.pair.responses)
        if label.p is not None and truth is not None and truth != 0.5:
            correct.append(score(label.p, int(truth == 0)))
    return wilson(sum(correct), len(correct))


def preferred(
    scorer: UserScorer, constitution: Constitution, prompt: Prompt, responses: tuple[str, str]
) -> float | None:
    """Which response a scorer's own `prefer` finds better over all principles by their weights: 1 the first, 0 the
    second, one half neither; None where it cannot say of one of them.
    """
    said = [(p, scorer.prefer(prompt, *responses, p.id)) for p in constitution.principles]
    known = [(p, value) for p, value in said if value is not None]
    if len(known) < len(said):
        return None
    balance = sum(constitution.axes[p.axis].weight * p.weight * (2 * value - 1) for p, value in known)
    return 0.5 if abs(balance) <= 1e-9 else float(balance > 0)
