"""`rlaif tune-decoding`: the decoding that a reward model likes best, within a distance from the model's own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import ValidationError

from rlaif.commands.figures import table
from rlaif.commands.of_run import config_of, model_of, prompts_of
from rlaif.critique import degeneracy
from rlaif.critique.figures import mean
from rlaif.ports import interrupt, registry
from rlaif.ports.chat import GenerateRequest
from rlaif.ports.decoding import Decoder
from rlaif.ports.engines import Engines
from rlaif.ports.identity import identity
from rlaif.ports.learner import Conversation, RewardScorer
from rlaif.ports.reporter import Reporter
from rlaif.records import seeds
from rlaif.records.audit import Figure
from rlaif.records.decoding import OWN, Measured, Setting, Shown, Tuning
from rlaif.records.errors import InputError
from rlaif.records.files import content_hash, write_text
from rlaif.records.prompt import Prompt
from rlaif.records.run_folder import RunFolder
from rlaif.records.store import AnswerStore

TEMPERATURES = (1.0, 0.85, 0.7, 0.5, 0.0)
TOP_P = (1.0, 0.95, 0.8)
TOP_K = (0, 20)
LEAST = 20  # prompts: below ten a half, an interval of a mean says little
LISTED = 10  # settings in the table
SHOWN = 3  # prompts whose replies are shown


class Options(NamedTuple):
    """What the user said; of a run, what is None is the run's own."""

    run: Path | None
    model: str | None
    reward: str | None
    prompts: str | None
    kl: float
    temperatures: Sequence[float]
    top_p: Sequence[float]
    top_k: Sequence[int]
    masks: Sequence[str]
    samples: int
    max_tokens: int | None
    limit: int
    seed: int | None
    out: Path | None


class Search(NamedTuple):
    """Everything that is searched, checked as far as it can be without loading a model. model, reward: folders."""

    model: str
    reward: str
    prompts: list[Prompt]
    settings: list[Setting]
    kl: float
    samples: int
    max_tokens: int
    seed: int
    threads: int | None
    out: Path


class Reply(NamedTuple):
    """A reply under a setting, as it is stored."""

    text: str
    tokens: int
    finished: bool
    kl: float
    reward: float


Replies = list[list[Reply]]  # of each prompt


def search_of(options: Options) -> Search:
    """What the options and the run, where there is one, come to.

    Raises:
        InputError: something is missing, out of range, or names nothing that is there.
    """
    model, reward, out = options.model, options.reward, options.out
    config = config_of(options.run) if options.run is not None else None
    if config is not None and options.run is not None:
        model = model or model_of(options.run, config, "policy")
        reward = reward or model_of(options.run, config, "reward")
        out = out or options.run / "decoding"
    if model is None or reward is None or out is None:
        fix = "give a run folder, or all of --model, --reward, --prompts and --out"
        raise InputError("what to tune is not said", fix=fix)
    for field, reference in (("--model", model), ("--reward", reward)):
        try:
            registry.model_path(reference)
        except InputError as error:
            error.field = field
            raise
    if not (options.kl > 0 and math.isfinite(options.kl)):
        raise InputError(f"{options.kl} is no limit", fix="give nats a reply, more than 0", field="--kl")
    prompts = prompts_of(options.run, "guard", options.prompts, options.limit)
    if len(prompts) < LEAST:
        fix = f"give at least {LEAST}: one half is searched, the other says whether the winner is better"
        raise InputError(f"there are {len(prompts)} prompts", fix=fix, field="--prompts" if options.prompts else None)
    of_run = (config.seed, config.evaluate.max_tokens, config.threads) if config is not None else (0, 96, None)
    return Search(
        model=model,
        reward=reward,
        prompts=prompts,
        settings=settings(options),
        kl=options.kl,
        samples=options.samples,
        max_tokens=of_run[1] if options.max_tokens is None else options.max_tokens,
        seed=of_run[0] if options.seed is None else options.seed,
        threads=of_run[2],
        out=out,
    )


def settings(options: Options) -> list[Setting]:
    """Every combination once, the model's own first; of masks none, each word alone, and all of them.

    Raises:
        InputError: a number is out of range.
    """
    masks = [[], *([word] for word in options.masks), *([list(options.masks)] if len(options.masks) > 1 else [])]
    found = [OWN]
    try:
        for mask, t, p, k in product(masks, options.temperatures, options.top_p, options.top_k):
            # Of a temperature of 0 nothing is left to cut.
            setting = (
                Setting(temperature=t, mask=mask) if t == 0 else Setting(temperature=t, top_p=p, top_k=k, mask=mask)
            )
            if setting not in found:
                found.append(setting)
    except ValidationError as error:
        first = error.errors()[0]
        field = "--" + str(first["loc"][0]).replace("_", "-")
        raise InputError(f"{first['input']!r}: {first['msg']}", fix="correct this number", field=field) from None
    return found


def halves(prompts: Sequence[Prompt], seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to search on, and those to report on, drawn by their ids."""
    order = sorted(prompts, key=lambda prompt: seeds.derive(seed, prompt.id, "tune-decoding"))
    return order[: len(order) // 2], order[len(order) // 2 :]


def run(search: Search, reporter: Reporter) -> Tuning:
    """Search, and write `generation_config.json` and `tuning.json`.

    Raises:
        InputError: a model is at fault, or cannot write a masked word.
        RunHalted: a logit or a score is NaN or infinite.
    """
    lock = RunFolder(search.out, "tune-decoding")
    engines = Engines(reporter)
    store = AnswerStore(search.out / "replies.sqlite")
    try:
        if search.threads is not None:
            engines.use_threads(search.threads)
        decoder: Decoder = engines.learner("decoder", model=search.model)
        for setting in search.settings:
            decoder.check(setting)
        rewards: RewardScorer = engines.learner("reward_scorer", model=search.reward)
        measuring = _Measuring(search, decoder, rewards, store)
        with interrupt.draining(reporter.line):
            found = tune(search, measuring.replies, reporter)
        write_text(search.out / "tuning.json", json.dumps(found.model_dump(), indent=2) + "\n")
        write_text(search.out / "generation_config.json", decoder.config(found.chosen).rstrip("\n") + "\n")
        return found
    finally:
        store.close()
        engines.close()
        lock.close()


class _Measuring:
    """Draws and scores replies, each setting's in one go, and keeps them."""

    def __init__(self, search: Search, decoder: Decoder, rewards: RewardScorer, store: AnswerStore) -> None:
        self._search = search
        self._decoder = decoder
        self._rewards = rewards
        self._store = store
        self._shapes = content_hash(decoder.digest, identity(search.reward), search.max_tokens)

    def replies(self, setting: Setting, prompts: Sequence[Prompt]) -> Replies:
        """The replies of every prompt; with the same seeds under every setting, so that they are alike where settings
        are."""
        search = self._search
        requests = [
            GenerateRequest(prompt.messages, seeds.derive(search.seed, prompt.id, f"decode-{number}"))
            for prompt in prompts
            for number in range(search.samples)
        ]
        asked = [([m.model_dump() for m in request.messages], request.seed) for request in requests]
        key = content_hash(self._shapes, setting.model_dump(), asked)
        payload = self._store.get([key]).get(key)
        if payload is None:
            decoded = self._decoder.draw(requests, setting, search.max_tokens)
            rows = [Conversation(r.messages, d.text) for r, d in zip(requests, decoded, strict=True)]
            scored = [[*d, score] for d, score in zip(decoded, self._rewards.score(rows), strict=True)]
            payload = json.dumps(scored)
            self._store.put({key: payload})
        drawn = [Reply(*row) for row in json.loads(payload)]
        return [drawn[at : at + search.samples] for at in range(0, len(drawn), search.samples)]


def tune(search: Search, replies: Callable[[Setting, Sequence[Prompt]], Replies], reporter: Reporter) -> Tuning:
    """Measure every setting on one half of the prompts, and the best within the limit on the other.

    The winner is kept where the other half, too, finds it better, beyond the interval of the difference, and within the
    limit; else the model's own distribution is.
    """
    searched, reported = halves(search.prompts, search.seed)
    candidates = []
    for number, setting in enumerate(search.settings, start=1):
        candidates.append(measured(setting, replies(setting, searched)))
        reporter.progress("settings", number, len(search.settings))
        interrupt.heed()
    winner = best(candidates, search.kl)
    own = replies(OWN, reported)
    confirmed = difference = None
    why = f"no other setting within {search.kl:g} nats scored higher than the model's own"
    shown: list[Shown] = []
    keep = False
    if winner != OWN:
        of_winner = replies(winner, reported)
        confirmed = measured(winner, of_winner)
        pairs = list(zip(of_winner, own, strict=True))
        difference = mean([fmean(r.reward for r in w) - fmean(r.reward for r in o) for w, o in pairs], "no prompt")
        keep, why = judged(confirmed, difference, search.kl)
        shown = [
            Shown(prompt_id=prompt.id, own=o[0].text, winner=w[0].text)
            for prompt, (w, o) in zip(reported[:SHOWN], pairs[:SHOWN], strict=True)
        ]
    return Tuning(
        model=search.model,
        reward=search.reward,
        seed=search.seed,
        kl_limit=search.kl,
        samples=search.samples,
        max_tokens=search.max_tokens,
        candidates=candidates,
        winner=None if winner == OWN else winner,
        own=measured(OWN, own),
        confirmed=confirmed,
        difference=difference,
        chosen=winner if keep else OWN,
        why=why,
        shown=shown,
    )


def measured(setting: Setting, replies: Replies) -> Measured:
    """The figures of a setting's replies."""
    flat = [reply for own in replies for reply in own]
    return Measured(
        setting=setting,
        reward=mean([fmean(r.reward for r in own) for own in replies], "no prompt"),
        kl=mean([fmean(r.kl for r in own) for own in replies], "no prompt"),
        tokens=fmean(r.tokens for r in flat),
        finished=fmean(r.finished for r in flat),
        distinct=degeneracy.distinct([r.text for r in flat]),
    )


def best(candidates: Sequence[Measured], limit: float) -> Setting:
    """Of those whose KL is within the limit, interval and all, the one with the highest reward; of equals the one that
    is nearest to the model's own, which is among them."""
    within = [c for c in candidates if _value(c.kl.high) <= limit]
    return max(within, key=lambda c: (_value(c.reward.value), -_value(c.kl.value))).setting


def judged(confirmed: Measured, difference: Figure, limit: float) -> tuple[bool, str]:
    """Whether the winner is kept after the second half, and why."""
    if _value(confirmed.kl.value) > limit:
        return (
            False,
            f"on the second half the winner is {confirmed.kl.value:.2f} nats away, over the limit of {limit:g}",
        )
    if _value(difference.low) <= 0:
        return False, "on the second half the winner is not better beyond the interval of the difference"
    return True, "on the second half, too, the winner is better, and within the limit"


def _value(number: float | None) -> float:
    assert number is not None  # of ten prompts a mean has an interval
    return number


def describe(found: Tuning, out: Path) -> str:
    """The best settings of the search, then what became of the winner."""
    own, *others = found.candidates
    listed = sorted(others, key=lambda c: -_value(c.reward.value))[:LISTED]
    lines = [
        f"{len(found.candidates)} settings on {own.reward.n} prompts, at most {found.kl_limit:g} nats a reply from the "
        f"model's own; the best {len(listed)} by reward, * over the limit:",
        "",
        *table(
            ("", "reward", "KL, nats", "tokens", "finished", "distinct"),
            [_row(c, found.kl_limit) for c in (own, *listed)],
        ),
        "",
    ]
    second = [found.own, *([found.confirmed] if found.confirmed else [])]
    lines += [f"on the other {found.own.reward.n} prompts:", ""]
    lines += table(
        ("", "reward", "KL, nats", "tokens", "finished", "distinct"), [_row(c, found.kl_limit) for c in second]
    )
    if found.difference is not None:
        lines.append(f"reward, winner less the model's own: {_number(found.difference, sign=True)}")
    if found.confirmed is not None and found.confirmed.distinct < found.own.distinct / 2:
        was = f"{found.own.distinct:.0%} of the model's own are"
        lines.append(f"look at its replies: {found.confirmed.distinct:.0%} of them are different, {was}")
    chosen = "the winner" if found.chosen != OWN else "the model's own decoding"
    lines += ["", f"kept: {chosen}: {found.why}", f"wrote {out / 'generation_config.json'}"]
    return "\n".join(lines)


def name(setting: Setting) -> str:
    """A setting in a few words."""
    if setting == OWN:
        return "the model's own"
    parts = ["greedy" if setting.temperature == 0 else f"temperature {setting.temperature:g}"]
    parts += [f"top-p {setting.top_p:g}"] if setting.top_p < 1 else []
    parts += [f"top-k {setting.top_k}"] if setting.top_k else []
    parts += [f"without {', '.join(map(repr, setting.mask))}"] if setting.mask else []
    return ", ".join(parts)


def _row(own: Measured, limit: float) -> tuple[str, ...]:
    over = "*" if _value(own.kl.high) > limit else ""
    return (
        name(own.setting) + over,
        _number(own.reward),
        _number(own.kl),
        f"{own.tokens:.1f}",
        f"{own.finished:.0%}",
        f"{own.distinct:.0%}",
    )


def _number(figure: Figure, *, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"
