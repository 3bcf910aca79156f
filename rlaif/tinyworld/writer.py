"""Trains the models that write: the policy, and the reviser with its two kinds of prompt.

The reviser must copy, and copying needs two steps: know the token before, then find where it stood earlier. A small
model is long in discovering that. So it first copies random tokens, which nothing else predicts, and an extra head,
thrown away afterwards, must tell the token before from the first layer's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from random import Random
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.tinyworld import corpus, revision
from rlaif.tinyworld.grammar import ATTRIBUTES, any_task, pick_task
from rlaif.tinyworld.network import Optimiser, Shape, llama
from rlaif.tinyworld.packing import Batch, Row, collate, hidden
from rlaif.tinyworld.tokenizer import EOS, SPECIAL, VOCABULARY, chat_text, token_ids

POLICY_SHAPE = Shape(width=128, layers=3, feed_forward=352, tied=False)
REVISER_SHAPE = Shape(width=128, layers=3, feed_forward=352, tied=True)
POLICY_ROWS, REVISER_ROWS = 64, 4  # of a step
SHARPNESS = 1.25  # of the policy: at temperature 1 it speaks as it was trained to at 0.8, with fewer slips
CHUNK = 8  # steps whose rows are made, encoded and sorted by length together
CRITIQUES = 3  # of one reply
KINDS = (*ATTRIBUTES, "harmful steps")
BOUNDARIES = ("<|assistant|>", ".", "?", ":", "Ġis")  # after these a reviser decides what to say next
BOUNDARY_WEIGHT = 4.0
COPYING_STEPS, COPYING_ROWS, COPIED = 400, 48, 20  # the reviser's first steps, their rows, and the tokens copied


class Item(NamedTuple):
    """A prompt's beginning, and the several ways to go on: (rest of the prompt, answer).

    `ends` holds (index of a sentence's last character in `shared`, its kind in `KINDS`).
    """

    shared: str
    parts: list[tuple[str, str]]
    ends: list[tuple[int, int]]


class Written(NamedTuple):
    """An item's row, with `ends` as tokens."""

    row: Row
    ends: list[tuple[int, int]]


Maker = Callable[[Random], Item]
"""Makes a random item."""


def policy_item(rng: Random) -> Item:
    """A request and a reply."""
    request, reply = corpus.dialogue(rng)
    return Item("", [(chat_text([request], reply=True), reply.content + EOS)], [])


def reviser_item(rng: Random) -> Item:
    """One reply with critiques and revisions under several principles."""
    task = any_task(rng) if rng.random() < corpus.UNLISTED else pick_task(rng, "train")
    mark = corpus.fence(rng)
    texts = []
    examples = revision.examples(task, rng, "train", CRITIQUES)
    for item in examples:
        for dialogue in (revision.revise_dialogue(item, mark), revision.critique_dialogue(item, mark)):
            texts.append((chat_text(dialogue[:-1], reply=True), dialogue[-1].content + EOS))
    cut = texts[0][0].index(f"\n[{mark}] critique\n")
    shared = texts[0][0][:cut]
    reply = examples[0].reply
    at, ends = cut - len(reply.text), []
    for text, attribute in zip(reply.sentences, reply.reading.attributes, strict=True):
        kind = "harmful steps" if attribute == "steps" and reply.reading.harms else attribute
        ends.append((at + len(text) - 1, KINDS.index(kind)))
        at += len(text) + 1
    return Item(shared, [(prompt[cut:], answer) for prompt, answer in texts], ends)


def copying_row(rng: Random) -> Written:
    """Random tokens, more random tokens, and the first ones again: nothing but copying predicts them."""

    def tokens(number: int) -> list[int]:
        return [rng.randrange(len(SPECIAL), VOCABULARY) for _ in range(number)]

    copied = tokens(COPIED)
    return Written(Row([*copied, *tokens(rng.randrange(COPIED))], [(copied[:1], copied[1:])]), [])


def rows(tokenizer: PreTrainedTokenizerFast, items: list[Item]) -> list[Written]:
    """The items, encoded and packed."""
    encode = tokenizer.backend_tokenizer.encode_batch
    beginnings = encode([item.shared for item in items], add_special_tokens=False)
    texts = [text for item in items for part in item.parts for text in part]
    pieces = iter(encode(texts, add_special_tokens=False))
    written = []
    for item, beginning in zip(items, beginnings, strict=True):
        row = Row(beginning.ids, [(next(pieces).ids, next(pieces).ids) for _ in item.parts])
        ends = [(token, kind) for at, kind in item.ends if (token := beginning.char_to_token(at)) is not None]
        written.append(Written(row, ends))
    return written


def batches(
    tokenizer: PreTrainedTokenizerFast, maker: Maker, rng: Random, size: int, steps: int
) -> Iterator[list[Written]]:
    """Training batches; the rows of one batch are of similar length."""
    for start in range(0, steps, CHUNK):
        items = [maker(rng) for _ in range(size * CHUNK)]
        made = sorted(rows(tokenizer, items), key=lambda written: written.row.size)
        groups = [made[i : i + size] for i in range(0, len(made), size)]
        rng.shuffle(groups)
        yield from groups[: steps - start]


class Heads(torch.nn.Module):
    """The auxiliary heads of a model that copies: the token before, and the kind of a sentence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = torch.nn.Linear(width, VOCABULARY)
        self.kind = torch.nn.Linear(width, len(KINDS))

    def loss(self, states: tuple[torch.Tensor, ...], batch: Batch, written: list[Written]) -> torch.Tensor:
        """Their losses, in nats; sentences are told from the last state before the last layer."""
        loss = cross_entropy(self.before(states[1]).flatten(0, 1), batch.previous_RT.flatten())
        ends = [(r, *end) for r, w in enumerate(written) for end in w.ends]
        if ends:
            row, position, kind = torch.tensor(ends).unbind(1)
            loss = loss + cross_entropy(self.kind(states[-2][row, position]), kind)
        return loss


def _train(
    name: str,
    shape: Shape,
    source: Iterable[list[Written]],
    seed: int,
    steps: int,
    *,
    boundaries: list[int],
    copies: bool,
) -> LlamaForCausalLM:
    """Train on `steps` batches; a model that `copies` gets the auxiliary heads, and its `boundaries` weigh more."""
    torch.manual_seed(seed)
    model = llama(shape)
    heads = Heads(shape.width)
    optimiser = Optimiser(model, heads.parameters(), steps)
    model.train()
    mean = 7.0
    for step, written in enumerate(source, start=1):
        batch = collate([w.row for w in written])
        states = hidden(model, batch)
        row_M, position_M = batch.answered_M2.unbind(1)
        losses_M = cross_entropy(model.lm_head(states[-1][row_M, position_M]), batch.answers_M, reduction="none")
        decides_M = torch.isin(batch.ids_RT[row_M, position_M], torch.tensor(boundaries))
        weights_M = torch.where(decides_M, BOUNDARY_WEIGHT, 1.0)
        loss = (losses_M * weights_M).sum() / weights_M.sum()
        optimiser.step(loss + heads.loss(states, batch, written) if copies else loss)
        mean += 0.1 * (loss.item() - mean)
        if step % 50 == 0 or step == steps:
            print(f"{name} {step}/{steps}: loss {mean:.3f} nats a token", flush=True)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def train_policy(
    tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, shape: Shape = POLICY_SHAPE
) -> LlamaForCausalLM:
    """Train a policy on the mixture of replies that waits to be aligned."""
    source = batches(tokenizer, policy_item, Random(f"policy-{seed}"), POLICY_ROWS, steps)
    model = _train("policy", shape, source, seed, steps, boundaries=[], copies=False)
    with torch.no_grad():
        model.lm_head.weight.mul_(SHARPNESS)
    return model


def train_reviser(
    tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, shape: Shape = REVISER_SHAPE
) -> LlamaForCausalLM:
    """Train a reviser: bare copying first, then critiques and revisions."""
    rng = Random(f"reviser-{seed}")
    copying = ([copying_row(rng) for _ in range(COPYING_ROWS)] for _ in range(COPYING_STEPS))
    source = chain(copying, batches(tokenizer, reviser_item, rng, REVISER_ROWS, steps - COPYING_STEPS))
    boundaries = token_ids(tokenizer, BOUNDARIES)
    return _train("reviser", shape, source, seed, steps, boundaries=boundaries, copies=True)
