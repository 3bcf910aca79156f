"""Teaches a trained scorer the check: a yes/no question about one reply, asked with either word first.

The only check of this world is whether a reply does harm, put in many wordings ("Is the response harmful?", "Does the
reply help to hurt people?"), in all of which Yes means harm. It is learnt beside scores of the same replies, so that
these are kept, with an auxiliary head, thrown away afterwards, that must tell at every answer to a check whether the
reply does harm. Asked both ways round at once ("Is the reply harmless?"), the scorer stayed at chance in as many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.critique import templates
from rlaif.critique.compare import ORDERS
from rlaif.records.judgement import Order
from rlaif.records.prompt import Message
from rlaif.tinyworld import corpus, scorer
from rlaif.tinyworld.critic import QUESTION_STARTS
from rlaif.tinyworld.grammar import held_out, pick_task, request
from rlaif.tinyworld.lexicon import Forms
from rlaif.tinyworld.network import Optimiser
from rlaif.tinyworld.packing import Row, collate, hidden
from rlaif.tinyworld.principles import Wording, infinitive
from rlaif.tinyworld.tokenizer import chat_text, token_ids

ROWS, SCORES = 16, 3  # of a step; scores asked of a reply, beside one check in each order
NOUNS = ("response", "reply", "answer")
ANSWERS = {True: ("Y", "es"), False: ("N", "o")}  # as the tokenizer spells them
HARMFUL = Forms(
    (
        "is harmful",
        "is dangerous",
        "is harmful or dangerous",
        "helps with harm",
        "agrees to help with harm",
        "gives help with doing harm",
        "helps to hurt people",
        "gives steps for something harmful",
    ),
    ("causes damage", "does harm"),
)


class Mixed(NamedTuple):
    """A packed row of scores and checks about one reply, and whether it does harm."""

    row: Row
    harms: bool


def text(phrase: str, noun: str) -> str:
    """The question in a phrase: `is harmful` gives "Is the reply harmful?", `does harm` "Does the reply do harm?"."""
    if phrase.startswith("is "):
        return f"Is the {noun} {phrase.removeprefix('is ')}?"
    return f"Does the {noun} {infinitive(phrase)}?"


def question(rng: Random, wording: Wording) -> str:
    """A random wording of the check."""
    while True:
        asked = text(rng.choice(HARMFUL.held if wording == "unseen-phrases" else HARMFUL.train), rng.choice(NOUNS))
        if wording == "unseen-phrases" or held_out("check", asked) == (wording == "heldout"):
            return asked


def messages(request: str, reply: str, ask: str, order: Order, mark: str) -> list[Message]:
    """The messages that the engine sends to a critic for this check."""
    return templates.render(
        templates.load("critic/check", "en"),
        fence=mark,
        conversation=[Message(role="user", content=request)],
        response=reply,
        ask=ask,
        unless="",
        order=order,
    )


class _Texts(NamedTuple):
    """A row before it is encoded: what all questions share, the rest of each, and the two tokens that answer it."""

    shared: str
    parts: list[str]
    answers: list[tuple[str, str]]
    harms: bool


def _texts(rng: Random) -> _Texts:
    task = pick_task(rng, "train")
    wish, reply = request(task, rng, "train"), corpus.reply(task, rng, "train")
    mark = corpus.fence(rng)
    asked = scorer.questions(reply.reading, SCORES, rng, "train")
    rendered = [
        *(scorer.score_messages(wish, reply.text, own.prefer, own.unless, mark) for own in asked),
        *(messages(wish, reply.text, question(rng, "train"), order, mark) for order in ORDERS),
    ]
    whole = [chat_text(own, reply=True) for own in rendered]
    cut = whole[0].rindex(QUESTION_STARTS)
    harms = reply.reading.harms
    answers = [*(scorer.answer(own.degree) for own in asked), *(ANSWERS[harms] for _ in ORDERS)]
    return _Texts(whole[0][:cut], [own[cut:] for own in whole], answers, harms)


def rows(tokenizer: PreTrainedTokenizerFast, rng: Random, number: int) -> list[Mixed]:
    """`number` random training rows."""
    texts = [_texts(rng) for _ in range(number)]
    encode = tokenizer.backend_tokenizer.encode_batch
    beginnings = encode([t.shared for t in texts], add_special_tokens=False)
    parts = iter(encode([part for t in texts for part in t.parts], add_special_tokens=False))
    made = []
    for text, beginning in zip(texts, beginnings, strict=True):
        row = Row(beginning.ids, [(next(parts).ids, token_ids(tokenizer, answer)) for answer in text.answers])
        made.append(Mixed(row, text.harms))
    return made


def batches(tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[list[Mixed]]:
    """Endless training batches; the rows of one batch are of similar length."""
    while True:
        made = sorted(rows(tokenizer, rng, ROWS * scorer.CHUNK), key=lambda mixed: mixed.row.size)
        groups = [made[i : i + ROWS] for i in range(0, len(made), ROWS)]
        rng.shuffle(groups)
        yield from groups


def losses(
    model: LlamaForCausalLM, head: nn.Linear, mixed: list[Mixed], middle: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The answer loss and the auxiliary loss of a batch, both in nats; `middle` as for the scorer. R rows, C checks of
    each, M tokens of answers, two of each question."""
    batch = collate([m.row for m in mixed])
    answer_MD = hidden(model, batch)[-1][batch.answered_M2[:, 0], batch.answered_M2[:, 1]]
    checked_RCD = answer_MD.view(len(mixed), -1, 2, answer_MD.shape[-1])[:, SCORES:, 0]
    harms_RC = torch.tensor([[m.harms] * len(ORDERS) for m in mixed]).long()
    auxiliary = cross_entropy(head(checked_RCD).flatten(0, 1), harms_RC.flatten())
    return scorer.spelled(model.lm_head(answer_MD), batch.answers_M, middle), auxiliary


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> LlamaForCausalLM:
    """Train a scorer for `steps` more steps, from the weights that its folder would hold, and print its progress."""
    model.bfloat16()
    model.float()  # type: ignore[no-untyped-call]
    torch.manual_seed(seed)
    head = nn.Linear(model.config.hidden_size, 2)
    optimiser = Optimiser(model, head.parameters(), steps)
    middle = token_ids(tokenizer, scorer.MIDDLE)
    source = batches(tokenizer, Random(f"checks-{seed}"))
    model.train()
    mean = 0.69
    for step in range(1, steps + 1):
        answered, auxiliary = losses(model, head, next(source), middle)
        optimiser.step(answered + auxiliary)
        mean += 0.05 * (answered.item() - mean)
        if step % 20 == 0 or step == steps:
            print(f"checks {step}/{steps}: answer loss {mean:.3f}, auxiliary {auxiliary.item():.3f}", flush=True)
    model.eval()  # type: ignore[no-untyped-call]
    return model
