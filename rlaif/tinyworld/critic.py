"""Trains the critic: a next-token judge that answers `A` or `B` to the engine's own prompt.

The answers alone teach nothing (the loss stays at ln 2), so two auxiliary heads, thrown away afterwards, show the way:
at the end of the request whether it is harmful; at every sentence end the attribute and whose reply it is; at every
answer the principle and both replies' true scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.tinyworld import corpus
from rlaif.tinyworld.grammar import ATTRIBUTES
from rlaif.tinyworld.network import Optimiser, Shape, llama
from rlaif.tinyworld.packing import Row, collate, hidden
from rlaif.tinyworld.principles import NAMES
from rlaif.tinyworld.tokenizer import LETTERS, chat_text, token_ids

SHAPE = Shape(width=160, layers=3, feed_forward=416, tied=True)
ROWS, QUESTIONS = 16, 8  # of a step
CHUNK = 8  # steps whose rows are made, encoded and sorted by length together
QUESTION_STARTS = "\n\nPrinciple: "
PRINCIPLE_WEIGHT = 0.5  # of the loss of naming the principle; the other auxiliary losses weigh 1


class Judged(NamedTuple):
    """A packed row of questions (in it every answer is `A`), the right probabilities of `A`, and auxiliary targets.

    `questions` holds (principle, score a + 1, score b + 1) in the order of the answers; `ends` (position, class) of
    the request and the sentences.
    """

    row: Row
    truths: list[float]
    questions: list[tuple[int, int, int]]
    ends: list[tuple[int, int]]


CLASSES = [
    *((kind, "request") for kind in ("harmless", "harmful")),
    *((kind, letter) for letter in LETTERS for kind in (*ATTRIBUTES, "harmful steps")),
]
"""What a sentence can be: an attribute in one of the replies, or a request."""


class Heads(nn.Module):
    """The auxiliary heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sentence = nn.Linear(width, len(CLASSES))
        self.principle = nn.Linear(width, len(NAMES))
        self.score_a = nn.Linear(width, 3)
        self.score_b = nn.Linear(width, 3)


class _Texts(NamedTuple):
    """A row before it is encoded; `ends` holds (index of a sentence's last character in `shared`, class)."""

    shared: str
    parts: list[str]
    asked: list[corpus.Question]
    ends: list[tuple[int, int]]


def _texts(pair: corpus.Pair, asked: list[corpus.Question], rng: Random) -> _Texts:
    mark = corpus.fence(rng)
    rendered = []
    for ask in asked:
        messages = corpus.judge_messages(pair.request, pair.a.text, pair.b.text, ask.prefer, ask.unless, mark)
        rendered.append(chat_text(messages, reply=True))
    cut = rendered[0].rindex(QUESTION_STARTS)
    shared = rendered[0][:cut]
    heading = f"[{mark}] conversation\nHuman: "
    at = shared.index(heading) + len(heading)
    ends = [(at + len(pair.request) - 1, CLASSES.index(("harmful" if pair.task.harmful else "harmless", "request")))]
    for letter, reply in zip(LETTERS, (pair.a, pair.b), strict=True):
        heading = f"[{mark}] response {letter}\n"
        at = shared.index(heading) + len(heading)
        for text, attribute in zip(reply.sentences, reply.reading.attributes, strict=True):
            kind = "harmful steps" if attribute == "steps" and reply.reading.harms else attribute
            ends.append((at + len(text) - 1, CLASSES.index((kind, letter))))
            at += len(text) + 1
    return _Texts(shared, [r[cut:] for r in rendered], asked, ends)


def rows(tokenizer: PreTrainedTokenizerFast, rng: Random, number: int) -> list[Judged]:
    """`number` random training rows."""
    texts = []
    for _ in range(number):
        pair = corpus.pair(rng, "train")
        texts.append(_texts(pair, corpus.questions(pair, QUESTIONS, rng, "train"), rng))
    backend = tokenizer.backend_tokenizer
    beginnings = backend.encode_batch([t.shared for t in texts], add_special_tokens=False)
    parts = iter(backend.encode_batch([p for t in texts for p in t.parts], add_special_tokens=False))
    first_letter = token_ids(tokenizer, LETTERS[:1])
    made = []
    for text, beginning in zip(texts, beginnings, strict=True):
        row = Row(beginning.ids, [(next(parts).ids, first_letter) for ask in text.asked])
        truths = [ask.truth for ask in text.asked]
        asked = [(NAMES.index(ask.name), ask.scores[0] + 1, ask.scores[1] + 1) for ask in text.asked]
        ends = [(token, kind) for at, kind in text.ends if (token := beginning.char_to_token(at)) is not None]
        made.append(Judged(row, truths, asked, ends))
    return made


def batches(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[list[Judged]]:
    """Endless training batches; the rows of one batch are of similar length."""
    while True:
        made = sorted(rows(tokenizer, rng, ROWS * CHUNK), key=lambda judged: judged.row.size)
        groups = [made[i : i + ROWS] for i in range(0, len(made), ROWS)]
        rng.shuffle(groups)
        yield from groups


def losses(
    model: LlamaForCausalLM, heads: Heads, judged: list[Judged], letters: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The answer loss and the auxiliary loss of a batch, both in nats. R rows, Q questions, S sentences.

    `letters` are the tokens of `LETTERS`.
    """
    batch = collate([j.row for j in judged])
    hidden_RTD = hidden(model, batch)[-1]
    answer_QD = hidden_RTD[batch.answered_M2[:, 0], batch.answered_M2[:, 1]]
    ends_S3 = torch.tensor([(r, *end) for r, j in enumerate(judged) for end in j.ends])
    end_SD = hidden_RTD[ends_S3[:, 0], ends_S3[:, 1]]
    letters_Q2 = model.lm_head(answer_QD).log_softmax(-1)[:, letters]
    truths_Q = torch.tensor([truth for j in judged for truth in j.truths])
    answer = -(torch.stack([truths_Q, 1 - truths_Q], dim=1) * letters_Q2).sum(1).mean()
    questions_Q3 = torch.tensor([question for j in judged for question in j.questions])
    auxiliary = (
        cross_entropy(heads.sentence(end_SD), ends_S3[:, 2])
        + PRINCIPLE_WEIGHT * cross_entropy(heads.principle(answer_QD), questions_Q3[:, 0])
        + cross_entropy(heads.score_a(answer_QD), questions_Q3[:, 1])
        + cross_entropy(heads.score_b(answer_QD), questions_Q3[:, 2])
    )
    return answer, auxiliary


def train(tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, shape: Shape = SHAPE) -> LlamaForCausalLM:
    """Train a critic for `steps` steps and print its progress."""
    torch.manual_seed(seed)
    model = llama(shape)
    heads = Heads(shape.width)
    optimiser = Optimiser(model, heads.parameters(), steps)
    letters = token_ids(tokenizer, LETTERS)
    source = batches(tokenizer, Random(f"critic-{seed}"))
    model.train()
    mean = 0.69
    for step in range(1, steps + 1):
        answer, auxiliary = losses(model, heads, next(source), letters)
        optimiser.step(answer + auxiliary)
        mean += 0.05 * (answer.item() - mean)
        if step % 50 == 0 or step == steps:
            print(f"critic {step}/{steps}: answer loss {mean:.3f}, auxiliary {auxiliary.item():.3f}", flush=True)
    model.eval()  # type: ignore[no-untyped-call]
    return model
