"""Trains the models that write: the policy, and the reviser with its two kinds of prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.tinyworld import corpus, revision
from rlaif.tinyworld.grammar import any_task, pick_task
from rlaif.tinyworld.network import Optimiser, Shape, llama
from rlaif.tinyworld.packing import Row, collate, hidden
from rlaif.tinyworld.tokenizer import EOS, chat_text, encode

POLICY_SHAPE = Shape(width=128, layers=3, feed_forward=352, tied=False)
REVISER_SHAPE = Shape(width=128, layers=3, feed_forward=352, tied=True)
POLICY_ROWS, REVISER_ROWS = 64, 4  # of a step
SHARPNESS = 1.25  # of the policy: at temperature 1 it speaks as it was trained to at 0.8, with fewer slips
CHUNK = 8  # steps whose rows are made, encoded and sorted by length together
CRITIQUES = 3  # of one reply
COPYING_SHARE = 0.35  # of the reviser's steps in which half of the rows teach bare copying


class Item(NamedTuple):
    """A prompt's beginning, and the several ways to go on: (rest of the prompt, answer)."""

    shared: str
    parts: list[tuple[str, str]]


Maker = Callable[[Random, float], Item]
"""Makes a random item, given how much of the training is done (0 to 1)."""


def policy_item(rng: Random, done: float) -> Item:
    """A request and a reply."""
    request, reply = corpus.dialogue(rng)
    return Item("", [(chat_text([request], reply=True), reply.content + EOS)])


def reviser_item(rng: Random, done: float) -> Item:
    """One reply with critiques and revisions under several principles."""
    copying = done < COPYING_SHARE and rng.random() < 0.5
    if copying:
        examples = revision.copying(rng, 2 * CRITIQUES)
    else:
        task = any_task(rng) if rng.random() < corpus.UNLISTED else pick_task(rng, "train")
        examples = revision.examples(task, rng, "train", CRITIQUES)
    mark = corpus.fence(rng)
    texts = []
    for item in examples:
        *critique, criticised = revision.critique_dialogue(item, mark)
        *revise, revised = revision.revise_dialogue(item, mark)
        texts.append((chat_text(revise, reply=True), revised.content + EOS))
        if not copying:
            texts.append((chat_text(critique, reply=True), criticised.content + EOS))
    cut = texts[0][0].index(f"\n[{mark}] critique\n")
    shared = texts[0][0][:cut]
    return Item(shared, [(prompt[cut:], answer) for prompt, answer in texts])


def rows(tokenizer: PreTrainedTokenizerFast, items: list[Item]) -> list[Row]:
    """The items, encoded and packed."""
    beginnings = encode(tokenizer, [item.shared for item in items])
    pieces = iter(encode(tokenizer, [text for item in items for part in item.parts for text in part]))
    return [
        Row(beginning, [(next(pieces), next(pieces)) for _ in item.parts])
        for item, beginning in zip(items, beginnings, strict=True)
    ]


def batches(
    tokenizer: PreTrainedTokenizerFast, maker: Maker, rng: Random, size: int, steps: int
) -> Iterator[list[Row]]:
    """Training batches; the rows of one batch are of similar length."""
    for start in range(0, steps, CHUNK):
        items = [maker(rng, start / steps) for _ in range(size * CHUNK)]
        made = sorted(rows(tokenizer, items), key=lambda row: row.size)
        groups = [made[i : i + size] for i in range(0, len(made), size)]
        rng.shuffle(groups)
        yield from groups[: steps - start]


def _train(
    name: str, tokenizer: PreTrainedTokenizerFast, shape: Shape, maker: Maker, size: int, seed: int, steps: int
) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = llama(shape)
    optimiser = Optimiser(model, (), steps)
    model.train()
    mean = 7.0
    for step, packed in enumerate(batches(tokenizer, maker, Random(f"{name}-{seed}"), size, steps), start=1):
        batch = collate(packed)
        states_MD = hidden(model, batch)[batch.answered_M2[:, 0], batch.answered_M2[:, 1]]
        loss = cross_entropy(model.lm_head(states_MD), batch.answers_M)
        optimiser.step(loss)
        mean += 0.1 * (loss.item() - mean)
        if step % 50 == 0 or step == steps:
            print(f"{name} {step}/{steps}: loss {mean:.3f} nats a token", flush=True)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def train_policy(
    tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, shape: Shape = POLICY_SHAPE
) -> LlamaForCausalLM:
    """Train a policy on the mixture of replies that waits to be aligned."""
    model = _train("policy", tokenizer, shape, policy_item, POLICY_ROWS, seed, steps)
    with torch.no_grad():
        model.lm_head.weight.mul_(SHARPNESS)
    return model


def train_reviser(
    tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, shape: Shape = REVISER_SHAPE
) -> LlamaForCausalLM:
    """Train a reviser: critiques and revisions, with much bare copying at the start."""
    return _train("reviser", tokenizer, shape, reviser_item, REVISER_ROWS, seed, steps)
