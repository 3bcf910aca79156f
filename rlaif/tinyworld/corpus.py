"""Makes the world's texts (replies, judge pairs, dialogues, prompt sets), as pure functions of a random generator."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from random import Random
from typing import NamedTuple

from rlaif.critique import templates
from rlaif.records.prompt import Message, Prompt
from rlaif.tinyworld.grammar import (
    HELD_OUT_TASKS,
    TASKS,
    TRAIN_TASKS,
    Split,
    Task,
    any_task,
    fill,
    pick_task,
    request,
    sentence,
)
from rlaif.tinyworld.lexicon import REQUESTS
from rlaif.tinyworld.principles import NAMES, PRINCIPLES, UNLESS_HARMFUL, Reading, Wording, difference, phrasing

MAX_WORDS = 56  # about 75 tokens of this world's tokenizer
TIES = 0.2  # of the questions of a pair; taught as an even chance
EXCEPTIONS = 0.3  # of the questions about `helpful` carry the exception
HARM = ("harmless", "harmful", "helpful")  # need the request and a whole reply, so they are asked about more often
HARM_WEIGHT = 1.7
UNLISTED = 0.3  # of what the writers learn is about random tasks
OFF_TOPIC = 0.06  # of the replies with steps are about another task
EXTRAS = (
    "detail",
    "rambling",
    "ai",
    "fake",
    "warning",
    "cheer",
    "doubt",
    "alternative",
    "question",
    "prying",
    "prejudiced",
    "selling",
    "legal",
    "preachy",
)
EXCLUSIVE = ({"ai", "fake"}, {"cheer", "doubt"})


class Reply(NamedTuple):
    """A reply's sentences and what it says."""

    sentences: tuple[str, ...]
    reading: Reading

    @property
    def text(self) -> str:
        """The reply as one string."""
        return " ".join(self.sentences)


class Pair(NamedTuple):
    """Two replies to one request."""

    task: Task
    request: str
    a: Reply
    b: Reply


class Question(NamedTuple):
    """A principle put to a pair, and its true scores of both replies."""

    name: str
    prefer: str
    unless: str
    scores: tuple[int, int]

    @property
    def truth(self) -> float:
        """The right probability of `A`: 1, 0, or a half for a tie."""
        a, b = self.scores
        return 0.5 if a == b else float(a > b)


def plan(task: Task, rng: Random) -> list[str]:
    """The attributes of a reply, in order: manners, the core of the answer, and up to three extras."""
    attributes = rng.choices([["polite"], ["rude"], []], [35, 30, 35])[0][:]
    if task.harmful:
        core = rng.choices(["steps", "refusal", "evasive", "unknown"], [53, 27, 15, 5])[0]
    else:
        core = rng.choices(["steps", "unknown", "evasive", "refusal"], [61, 22, 12, 5])[0]
    attributes.append(core)
    scolding = ("legal", "preachy")
    allowed = [a for a in EXTRAS if (a != "detail" or core == "steps") and (a not in scolding or task.harmful)]
    wanted = rng.choice((0, 1, 1, 2, 2, 3))
    weights = [3.0 if a == "preachy" and core != "steps" else 1.5 if a in scolding else 1.0 for a in allowed]
    extras: list[str] = []
    while len(extras) < wanted:
        extra = rng.choices(allowed, weights)[0]
        if extra not in extras and not any(extra in pair and pair & set(extras) for pair in EXCLUSIVE):
            extras.append(extra)
            if extra == "rambling" and rng.random() < 0.5:
                extras.append(extra)
    return attributes + extras


def write(attributes: list[str], task: Task, rng: Random, split: Split) -> Reply:
    """A reply with the given attributes, of at most `MAX_WORDS` words (the last sentences are dropped)."""
    about = task
    if "steps" in attributes and rng.random() < OFF_TOPIC:
        about = pick_task(rng, split)
    sentences: list[str] = []
    said: list[str] = []
    words = 0
    for attribute in attributes:
        text = sentence(attribute, about if attribute == "steps" else task, rng, split)
        words += text.count(" ") + 1
        if words > MAX_WORDS and attribute != "steps":
            break
        sentences.append(text)
        said.append(attribute)
    helps = "steps" in said and about[:2] == task[:2]
    harms = "steps" in said and about.harmful
    return Reply(tuple(sentences), Reading(task, tuple(said), helps, harms))


def reply(task: Task, rng: Random, split: Split) -> Reply:
    """A random reply to a request for `task`."""
    return write(plan(task, rng), task, rng, split)


def pair(rng: Random, split: Split) -> Pair:
    """Two different random replies to one random request."""
    task = pick_task(rng, split)
    a, b = reply(task, rng, split), reply(task, rng, split)
    while a.text == b.text:
        b = reply(task, rng, split)
    return Pair(task, request(task, rng, split), a, b)


def verdicts(pair: Pair) -> dict[str, int]:
    """What every principle says of a pair: above 0 for a, below 0 for b, 0 for a tie."""
    return {name: difference(name, pair.a.reading, pair.b.reading) for name in NAMES}


@lru_cache(maxsize=1)
def _rarity() -> dict[str, float]:
    """Weights that ask every principle about equally often, though it decides pairs more or less often."""
    rng = Random("rarity")
    counts = dict.fromkeys(NAMES, 1)
    for _ in range(2000):
        for name, verdict in verdicts(pair(rng, "train")).items():
            counts[name] += verdict != 0
    return {name: count**-0.8 * (HARM_WEIGHT if name in HARM else 1.0) for name, count in counts.items()}


def questions(pair: Pair, number: int, rng: Random, wording: Wording) -> list[Question]:
    """`number` questions about a pair, balanced over principles and answers, some of them ties."""
    rarity = _rarity()
    truth = verdicts(pair)
    ties = [n for n in NAMES if truth[n] == 0]
    asked = []
    for _ in range(number):
        side = rng.choice((-1, 1))
        names = [n for n in NAMES if truth[n] * side > 0]
        if rng.random() < TIES or not names:
            name = rng.choices(ties, [HARM_WEIGHT if n in HARM else 1.0 for n in ties])[0]
        else:
            name = rng.choices(names, [rarity[n] for n in names])[0]
        unless = UNLESS_HARMFUL if name == "helpful" and rng.random() < EXCEPTIONS else ""
        silent = bool(unless) and pair.task.harmful
        score = PRINCIPLES[name].score
        scores = (0, 0) if silent else (score(pair.a.reading), score(pair.b.reading))
        asked.append(Question(name, phrasing(name, rng, wording), unless, scores))
    return asked


def fence(rng: Random) -> str:
    """A random fence, in the form of `templates.fence_for`."""
    return f"{rng.getrandbits(4 * templates.FENCE_CHARACTERS):0{templates.FENCE_CHARACTERS}x}"


def judge_messages(request: str, a: str, b: str, prefer: str, unless: str, mark: str) -> list[Message]:
    """The messages that the engine sends to a critic for this judgement."""
    return templates.render(
        templates.load("critic/pairwise", "en"),
        fence=mark,
        conversation=[Message(role="user", content=request)],
        response_a=a,
        response_b=b,
        prefer=prefer,
        unless=unless,
    )


def dialogue(rng: Random) -> list[Message]:
    """A request and a reply: what the policy learns from.

    A policy has heard of every task, asked for in every way, before it is aligned, as a pretrained model has; tasks and
    phrasings are held out from its alignment, and sentences already here.
    """
    task = any_task(rng) if rng.random() < UNLISTED else rng.choice(TASKS)
    known = len(REQUESTS.train) / (len(REQUESTS.train) + len(REQUESTS.held))
    return [
        Message(role="user", content=request(task, rng, "train" if rng.random() < known else "heldout")),
        Message(role="assistant", content=reply(task, rng, "train").text),
    ]


def prompt_set(split: Split, rows: int) -> list[Prompt]:
    """Up to `rows` different prompts: every task of the split in every phrasing of it, in the order of their hashes."""
    tasks = TRAIN_TASKS if split == "train" else HELD_OUT_TASKS
    phrasings = REQUESTS.train if split == "train" else REQUESTS.held
    texts = [(t, fill(p, {"v": t.verb, "o": t.thing})) for t in tasks for p in phrasings]
    texts.sort(key=lambda row: hashlib.sha256(row[1].encode()).hexdigest())
    return [
        Prompt(
            id=f"tinyworld-{split}-{index:04d}",
            messages=[Message(role="user", content=text)],
            meta={"harmful": task.harmful, "verb": task.verb, "thing": task.thing},
        )
        for index, (task, text) in enumerate(texts[:rows])
    ]
