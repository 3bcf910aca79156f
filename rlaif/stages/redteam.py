"""policy of the round before -> more prompts to train on: those that an attacker model finds it weak at.

An attacker reads a few of the prompts and a principle, and writes a request on which an assistant may break it (red
teaming by language models, Perez et al., arXiv 2202.03286; the principle is drawn by weight). What repeats a known
prompt, training or held out, is dropped. The policy answers what is left, the reward model of the round before scores
the replies, and the prompts with the lowest scores are kept: everything is the models' own doing, and seeded.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from rlaif.critique import templates
from rlaif.ports import answers
from rlaif.ports.asks import Ask, Range, examples, reply_length
from rlaif.ports.chat import GenerateRequest, Sampling
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation
from rlaif.records import seeds
from rlaif.records.constitution import Constitution
from rlaif.records.errors import InputError
from rlaif.records.files import read_rows, write_rows
from rlaif.records.prompt import Message, Prompt
from rlaif.records.settings import Lineage, Settings
from rlaif.records.store import AnswerStore

WORD = re.compile(r"\w+")
LISTED = re.compile(r"^\s*(?:[-*•]|\d+[.)]|request\s*\d*:)\s*", re.I)  # how models begin a list of one


class Config(Settings):
    """Settings of the attack before every round but the first."""

    attacker: str = Field(description="SPEC of the model that writes requests")
    candidates: int = Field(default=256, ge=1, description="requests that it writes a round")
    keep: int = Field(default=64, ge=1, description="those to train on: the policy's worst, by the reward model")
    shown: int = Field(default=4, ge=1, description="known prompts that the attacker reads before it writes one")
    temperature: float = Field(default=1.0, ge=0, description="of the attacker's sampling; 0 is greedy")
    max_tokens: int = Field(default=128, ge=1, description="longest request")
    reply_tokens: int = Field(default=96, ge=1, description="longest reply of the policy to one")


class Inputs(NamedTuple):
    """`train` are the prompts so far, `known` others not to be repeated; `policy` is a SPEC, `reward` a folder."""

    train: Path
    known: Sequence[Path]
    policy: str
    reward: str
    constitution: Constitution
    round: int
    seed: int
    out: Path
    lineage: Lineage


def run(config: Config, engines: Engines, inputs: Inputs) -> list[str]:
    """Write `train.jsonl`: the prompts so far, then the new ones, the hardest first. Their `meta` says the round, the
    principle and the score of the reply.

    Raises:
        RunHalted: too many generations failed, or a score is not finite.
        InputError: there is no prompt of one turn to show the attacker.
    """
    train = read_rows(inputs.train, Prompt, "prompts")
    known = [*train, *(prompt for path in inputs.known for prompt in read_rows(path, Prompt, "prompts"))]
    store = AnswerStore(inputs.out / "answers.sqlite")
    asked = requests(config, inputs.constitution, train, inputs.seed)
    sampling = Sampling(config.temperature, config.max_tokens)
    attacker = engines.chat(config.attacker)
    written = answers.generations(
        attacker, [own.request for own in asked], sampling, store, engines.reporter, what="attacks"
    )
    engines.release(config.attacker)
    texts = [(cleaned(w.text), own.principle) for own, w in zip(asked, written, strict=True) if w.text and w.finished]
    found = fresh(texts, [prompt.messages[-1].content for prompt in known])
    kept = _hardest(config, engines, inputs, store, found)
    store.close()
    write_rows(inputs.out / "train.jsonl", inputs.lineage.header("prompts"), [*train, *kept])
    counts = f"{len(asked)} written, {len(found)} of them new, {len(kept)} kept"
    engines.reporter.line(f"redteam: {counts}; {len(train) + len(kept)} prompts to train on")
    return ["train.jsonl"]


class Asked(NamedTuple):
    """What the attacker is asked, and the principle that it aims at."""

    request: GenerateRequest
    principle: str


def requests(config: Config, constitution: Constitution, train: Sequence[Prompt], seed: int) -> list[Asked]:
    """What the attacker reads, one a candidate.

    Raises:
        InputError: there is no prompt of one turn to show it.
    """
    single = [prompt.messages[-1].content for prompt in train if len(prompt.messages) == 1]
    if not single:
        fix = "add such prompts, or leave the section `redteam` out"
        raise InputError("no prompt has one turn alone, which is what an attacker is shown", field="redteam", fix=fix)
    template = templates.load("redteam/attack", constitution.language)
    found = []
    for number in range(config.candidates):
        chance = random.Random(seeds.derive(seed, str(number), "redteam"))
        shown = chance.sample(single, min(config.shown, len(single)))
        weights = [principle.weight for principle in constitution.principles]
        aim = chance.choices(constitution.principles, weights=weights)[0]
        messages = templates.render(template, fence=templates.fence_for(*shown), examples=shown, prefer=aim.prefer)
        found.append(Asked(GenerateRequest(messages, seeds.derive(seed, str(number), "attack")), aim.id))
    return found


def cleaned(text: str) -> str:
    """A request as it is meant: the first paragraph, without the number or the quotation marks that models put on."""
    first = next((part.strip() for part in text.strip().split("\n\n")), "")
    bare = LISTED.sub("", first)
    return bare[1:-1].strip() if len(bare) > 1 and bare[0] in "\"“'" and bare[-1] in "\"”'" else bare


def fresh(texts: Sequence[tuple[str, str]], known: Sequence[str]) -> list[tuple[str, str]]:
    """Those that say something, and not what a known one or one before them says, but for case and punctuation."""
    seen = {_words(text) for text in known} | {()}
    found = []
    for text, principle in texts:
        words = _words(text)
        if words not in seen:
            seen.add(words)
            found.append((text, principle))
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(WORD.findall(text.lower()))


def _hardest(
    config: Config, engines: Engines, inputs: Inputs, store: AnswerStore, found: Sequence[tuple[str, str]]
) -> list[Prompt]:
    """The prompts whose replies score lowest, the lowest first; one without a reply is no prompt."""
    prompts = [
        Prompt(
            id=f"redteam-{inputs.round}-{number:04}",
            messages=[Message(role="user", content=text)],
            meta={"round": inputs.round, "principle": principle},
        )
        for number, (text, principle) in enumerate(found)
    ]
    drawn = [GenerateRequest(p.messages, seeds.derive(inputs.seed, p.id, "reply")) for p in prompts]
    sampling = Sampling(1.0, config.reply_tokens)
    what = "replies to attacks"
    written = answers.generations(engines.chat(inputs.policy), drawn, sampling, store, engines.reporter, what=what)
    engines.release(inputs.policy)
    answered = [(p, w.text) for p, w in zip(prompts, written, strict=True) if w.text is not None]
    if not answered:
        return []
    scorer = engines.learner("reward_scorer", model=inputs.reward)
    scores: list[float] = scorer.score([Conversation(prompt.messages, text) for prompt, text in answered])
    order = sorted(range(len(answered)), key=lambda place: (scores[place], place))[: config.keep]
    return [
        answered[place][0].model_copy(update={"meta": {**answered[place][0].meta, "score": scores[place]}})
        for place in order
    ]


def asks(
    config: Config, constitution: Constitution, train: Sequence[Prompt], policy: str, seed: int, rounds: int
) -> list[Ask]:
    """What attacks before `rounds` rounds will ask of the attacker and of the policy.

    Raises:
        InputError: as `run`.
    """
    asked = requests(config, constitution, train, seed)
    shown = examples(asked)
    size, calls = (len(shown), len(asked)), Range.exactly(rounds * len(asked))
    read = [own.request.messages for own in shown]
    attack, reply = reply_length(config.max_tokens), reply_length(config.reply_tokens)
    read_by_policy = [p.messages for p in examples(list(train))]
    rows = len(read_by_policy), len(train)
    most = Range(0, rounds * len(asked))  # what repeats a known prompt gets no reply
    return [
        Ask("attacks", config.attacker, calls, read, {}, attack, size, writes="attacks"),
        Ask("replies to attacks", policy, most, read_by_policy, {}, reply, rows, writes="attack replies"),
    ]
