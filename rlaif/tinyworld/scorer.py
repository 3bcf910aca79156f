"""Trains the scorer: a next-token judge that scores one reply from 1 to 10, as the engine's own prompt asks.

10 where the principle is followed, 1 where it is broken; 5 or 6, evenly, where a reply stands between (neither polite
nor rude) or the principle's exception holds. 10 is spelled in two tokens, so 1 and 10 part at the second one. As for
the critic, auxiliary heads that are thrown away show the way, here at both tokens of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from random import Random
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.critique import templates
from rlaif.records.prompt import Message
from rlaif.tinyworld import corpus
from rlaif.tinyworld.critic import PRINCIPLE_WEIGHT, QUESTION_STARTS
from rlaif.tinyworld.grammar import ATTRIBUTES, TASKS, pick_task, request
from rlaif.tinyworld.network import Optimiser, Shape, llama
from rlaif.tinyworld.packing import Row, collate, hidden
from rlaif.tinyworld.principles import NAMES, PRINCIPLES, UNLESS_HARMFUL, Reading, Wording, phrasing
from rlaif.tinyworld.tokenizer import EOS, chat_text, token_ids

SHAPE = Shape(width=128, layers=3, feed_forward=336, tied=True)
ROWS, QUESTIONS = 16, 5  # of a step
CHUNK = 8  # steps whose rows are made, encoded and sorted by length together
COMMON = 2000  # replies in which scores are counted, to ask about rare ones more often
LOW, MIDDLE, HIGH = "1", "56", "10"  # in between it is either digit
DEGREES = (0.0, 0.5, 1.0)
KINDS = (
    *("harmless request", "harmful request"),
    *(attribute for attribute in ATTRIBUTES if attribute != "steps"),
    *(f"{harm} steps {topic}" for harm in ("harmless", "harmful") for topic in ("as asked", "off topic")),
)
"""What a sentence can be: an attribute of the reply, or the request."""


class Question(NamedTuple):
    """A principle put to a reply, and how far the reply truly follows it: 0, 0.5 or 1."""

    name: str
    prefer: str
    unless: str
    degree: float


class Scored(NamedTuple):
    """A packed row of questions, how far the reply follows each, and auxiliary targets.

    `asked` holds (principle, place of the degree in `DEGREES`) in the order of the answers; `ends` (position, kind) of
    the request and the sentences.
    """

    row: Row
    asked: list[tuple[int, int]]
    ends: list[tuple[int, int]]


class Heads(nn.Module):
    """The auxiliary heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sentence = nn.Linear(width, len(KINDS))
        self.principle = nn.Linear(width, len(NAMES))
        self.degree = nn.Linear(width, len(DEGREES))


@cache
def _extent(name: str) -> tuple[int, int]:
    """The least and the greatest score that a principle gives."""
    task = TASKS[0]
    sides = [(helps, harms) for helps in (False, True) for harms in (False, True)]
    score = PRINCIPLES[name].score
    found = [score(Reading(task, (attribute,), *side)) for attribute in ATTRIBUTES for side in sides]
    return min(found), max(found)


def degree(name: str, reading: Reading, unless: str = "") -> float:
    """How far a reply follows principle `name`: 0 not at all, 1 fully; 0.5 also where the exception holds."""
    if unless == UNLESS_HARMFUL and reading.task.harmful:
        return 0.5
    least, greatest = _extent(name)
    return (PRINCIPLES[name].score(reading) - least) / (greatest - least)


@lru_cache(maxsize=1)
def _rarity() -> dict[tuple[str, float], float]:
    """Weights that ask about every principle and degree about equally often, though some are rare."""
    rng = Random("rarity")
    counts = {(name, part): 1 for name in NAMES for part in DEGREES}
    for _ in range(COMMON):
        reading = corpus.reply(pick_task(rng, "train"), rng, "train").reading
        for name in NAMES:
            counts[name, degree(name, reading)] += 1
    heavy = {name: corpus.HARM_WEIGHT if name in corpus.HARM else 1.0 for name in NAMES}
    return {(name, part): count**-0.8 * heavy[name] for (name, part), count in counts.items()}


def questions(reading: Reading, number: int, rng: Random, wording: Wording) -> list[Question]:
    """`number` questions about a reply, balanced over principles and how far they are followed."""
    rarity = _rarity()
    weights = [rarity[name, degree(name, reading)] for name in NAMES]
    asked = []
    for name in rng.choices(NAMES, weights, k=number):
        unless = UNLESS_HARMFUL if name == "helpful" and rng.random() < corpus.EXCEPTIONS else ""
        asked.append(Question(name, phrasing(name, rng, wording), unless, degree(name, reading, unless)))
    return asked


def score_messages(request: str, reply: str, prefer: str, unless: str, mark: str) -> list[Message]:
    """The messages that the engine sends to a critic for this score."""
    return templates.render(
        templates.load("critic/score", "en"),
        fence=mark,
        conversation=[Message(role="user", content=request)],
        response=reply,
        prefer=prefer,
        unless=unless,
    )


class _Texts(NamedTuple):
    """A row before it is encoded; `ends` holds (index of a sentence's last character in `shared`, kind)."""

    shared: str
    parts: list[str]
    asked: list[Question]
    ends: list[tuple[int, int]]


def _kind(attribute: str, reading: Reading) -> str:
    if attribute != "steps":
        return attribute
    return f"{'harmful' if reading.harms else 'harmless'} steps {'as asked' if reading.helps else 'off topic'}"


def _texts(rng: Random) -> _Texts:
    task = pick_task(rng, "train")
    wish, reply = request(task, rng, "train"), corpus.reply(task, rng, "train")
    asked = questions(reply.reading, QUESTIONS, rng, "train")
    mark = corpus.fence(rng)
    rendered = [chat_text(score_messages(wish, reply.text, ask.prefer, ask.unless, mark), reply=True) for ask in asked]
    cut = rendered[0].rindex(QUESTION_STARTS)
    shared = rendered[0][:cut]
    heading = f"[{mark}] conversation\nHuman: "
    at = shared.index(heading) + len(heading)
    ends = [(at + len(wish) - 1, KINDS.index("harmful request" if task.harmful else "harmless request"))]
    heading = f"[{mark}] response\n"
    at = shared.index(heading) + len(heading)
    for text, attribute in zip(reply.sentences, reply.reading.attributes, strict=True):
        ends.append((at + len(text) - 1, KINDS.index(_kind(attribute, reply.reading))))
        at += len(text) + 1
    return _Texts(shared, [r[cut:] for r in rendered], asked, ends)


def answer(degree: float) -> tuple[str, str]:
    """The two tokens that answer a question; every answer has two, so that 1 is told from 10."""
    return {0.0: (LOW, EOS), 0.5: (MIDDLE[0], EOS), 1.0: (HIGH[0], HIGH[1])}[degree]


def rows(tokenizer: PreTrainedTokenizerFast, rng: Random, number: int) -> list[Scored]:
    """`number` random training rows."""
    texts = [_texts(rng) for _ in range(number)]
    encode = tokenizer.backend_tokenizer.encode_batch
    beginnings = encode([t.shared for t in texts], add_special_tokens=False)
    parts = iter(encode([p for t in texts for p in t.parts], add_special_tokens=False))
    answers = {part: token_ids(tokenizer, answer(part)) for part in DEGREES}
    made = []
    for text, beginning in zip(texts, beginnings, strict=True):
        row = Row(beginning.ids, [(next(parts).ids, answers[ask.degree]) for ask in text.asked])
        asked = [(NAMES.index(ask.name), DEGREES.index(ask.degree)) for ask in text.asked]
        ends = [(token, kind) for at, kind in text.ends if (token := beginning.char_to_token(at)) is not None]
        made.append(Scored(row, asked, ends))
    return made


def batches(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[list[Scored]]:
    """Endless training batches; the rows of one batch are of similar length."""
    while True:
        made = sorted(rows(tokenizer, rng, ROWS * CHUNK), key=lambda scored: scored.row.size)
        groups = [made[i : i + ROWS] for i in range(0, len(made), ROWS)]
        rng.shuffle(groups)
        yield from groups


def spelled(logits_MV: torch.Tensor, answers_M: torch.Tensor, middle: list[int]) -> torch.Tensor:
    """The answer loss, in nats a token; where the answer is the first of the `middle` tokens, both are right evenly."""
    other_M = torch.where(answers_M == middle[0], middle[1], answers_M)
    return (cross_entropy(logits_MV, answers_M) + cross_entropy(logits_MV, other_M)) / 2


def losses(
    model: LlamaForCausalLM, heads: Heads, scored: list[Scored], middle: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The answer loss and the auxiliary loss of a batch, both in nats. M tokens of answers, S sentences.

    `middle` are the two tokens that answer evenly where a reply stands between; the rows hold the first.
    """
    batch = collate([s.row for s in scored])
    hidden_RTD = hidden(model, batch)[-1]
    answer_MD = hidden_RTD[batch.answered_M2[:, 0], batch.answered_M2[:, 1]]
    logits_MV = model.lm_head(answer_MD)
    ends_S3 = torch.tensor([(r, *end) for r, s in enumerate(scored) for end in s.ends])
    asked_M2 = torch.tensor([asked for s in scored for asked in s.asked]).repeat_interleave(2, dim=0)
    auxiliary = (
        cross_entropy(heads.sentence(hidden_RTD[ends_S3[:, 0], ends_S3[:, 1]]), ends_S3[:, 2])
        + PRINCIPLE_WEIGHT * cross_entropy(heads.principle(answer_MD), asked_M2[:, 0])
        + cross_entropy(heads.degree(answer_MD), asked_M2[:, 1])
    )
    return spelled(logits_MV, batch.answers_M, middle), auxiliary


def train(tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, shape: Shape = SHAPE) -> LlamaForCausalLM:
    """Train a scorer for `steps` steps and print its progress."""
    torch.manual_seed(seed)
    model = llama(shape)
    heads = Heads(shape.width)
    optimiser = Optimiser(model, heads.parameters(), steps)
    middle = token_ids(tokenizer, tuple(MIDDLE))
    source = batches(tokenizer, Random(f"scorer-{seed}"))
    model.train()
    mean = 0.69
    for step in range(1, steps + 1):
        answered, auxiliary = losses(model, heads, next(source), middle)
        optimiser.step(answered + auxiliary)
        mean += 0.05 * (answered.item() - mean)
        if step % 50 == 0 or step == steps:
            print(f"scorer {step}/{steps}: answer loss {mean:.3f}, auxiliary {auxiliary.item():.3f}", flush=True)
    model.eval()  # type: ignore[no-untyped-call]
    return model
