"""The held-out evaluation of the world's models: on contents, tasks and phrasings that no training text contains.

`train` prints it for what it has just trained, and a test repeats it on the shipped weights. Every truth in it is the
oracle's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from statistics import correlation, fmean
from typing import NamedTuple

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from rlaif.critique.compare import OPTIONS, ORDERS
from rlaif.records.prompt import Message
from rlaif.tinyworld import checks, corpus, revision
from rlaif.tinyworld.grammar import Split, pick_task, request, split_sentences
from rlaif.tinyworld.oracle import Oracle
from rlaif.tinyworld.principles import PRINCIPLES, Wording, phrasing, read
from rlaif.tinyworld.scorer import degree, score_messages
from rlaif.tinyworld.tokenizer import LETTERS, chat_text, encode, token_ids

SEED = "heldout"
BATCH = 64
CASES, FLIPS, UNSEEN, REPLIES, REVISIONS, CHECKS = 600, 200, 150, 256, 96, 300
MAX_NEW_TOKENS = 120

Table = dict[str, float | dict[str, float]]


class Case(NamedTuple):
    """A pair under a principle; `truth` is 1 where the first reply is better, 0 where the second is, 0.5 on a tie."""

    pair: corpus.Pair
    name: str
    prefer: str
    unless: str
    truth: float


class Verdict(NamedTuple):
    """What the critic says of a case, asked in both orders: probabilities of the two letters."""

    letters: tuple[float, float]  # P(A), P(B) with the first reply as A
    swapped: tuple[float, float]  # the same with the first reply as B

    @property
    def first(self) -> float:
        """The probability that the first reply is better, averaged over both orders."""
        return (_share(self.letters) + 1 - _share(self.swapped)) / 2


def _share(letters: tuple[float, float]) -> float:
    return letters[0] / (letters[0] + letters[1])


def cases(
    rng: Random, number: int, *, split: Split = "heldout", wording: Wording = "heldout", ties: bool = False
) -> list[Case]:
    """Random pairs that the named principle decides (or `ties` that it does not), balanced over the principles."""
    found: list[Case] = []
    while len(found) < number:
        pair = corpus.pair(rng, split)
        ask = corpus.questions(pair, 1, rng, wording)[0]
        if (ask.truth == 0.5) == ties:
            found.append(Case(pair, ask.name, ask.prefer, ask.unless, ask.truth))
    return found


def flips(rng: Random, number: int) -> list[tuple[Case, Case]]:
    """Pairs for which two principles, not each other's inverse, have opposite verdicts."""
    found: list[tuple[Case, Case]] = []
    while len(found) < number:
        pair = corpus.pair(rng, "heldout")
        verdicts = corpus.verdicts(pair)
        both = [
            (for_a, for_b)
            for for_a in verdicts
            for for_b in verdicts
            if verdicts[for_a] > 0 > verdicts[for_b] and PRINCIPLES[for_a].inverse != for_b
        ]
        if both:
            for_a, for_b = rng.choice(both)
            first = Case(pair, for_a, phrasing(for_a, rng, "heldout"), "", 1.0)
            found.append((first, Case(pair, for_b, phrasing(for_b, rng, "heldout"), "", 0.0)))
    return found


@torch.inference_mode()
def judge(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[Case], rng: Random
) -> list[Verdict]:
    """Ask the critic about every case in both orders, with the engine's own prompt."""
    texts = []
    for case in asked:
        for a, b in ((case.pair.a, case.pair.b), (case.pair.b, case.pair.a)):
            mark = corpus.fence(rng)
            messages = corpus.judge_messages(case.pair.request, a.text, b.text, case.prefer, case.unless, mark)
            texts.append(chat_text(messages, reply=True))
    read_off = _options(model, tokenizer, texts, LETTERS)
    return [Verdict(read_off[2 * i], read_off[2 * i + 1]) for i in range(len(asked))]


def _options(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str], options: tuple[str, str]
) -> dict[int, tuple[float, float]]:
    """The probabilities of two tokens after each text."""
    ids = encode(tokenizer, texts)
    letters = token_ids(tokenizer, options)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    read_off: dict[int, tuple[float, float]] = {}
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        longest = max(len(ids[i]) for i in chosen)
        ids_BT = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in chosen])
        last_B = torch.tensor([len(ids[i]) - 1 for i in chosen])
        states_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
        logits_BV = model.lm_head(states_BTD[torch.arange(len(chosen)), last_B]).float()
        for i, (p_a, p_b) in zip(chosen, logits_BV.softmax(-1)[:, letters].tolist(), strict=True):
            read_off[i] = (p_a, p_b)
    return read_off


def _right(case: Case, probability: float) -> bool:
    return (probability > 0.5) == bool(case.truth)


def critic(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Table:
    """The critic's table: shares of right verdicts, and what its probabilities look like."""
    rng = Random(f"{SEED}-critic")
    asked = cases(rng, CASES)
    verdicts = judge(model, tokenizer, asked, rng)
    by_principle: dict[str, list[bool]] = defaultdict(list)
    for case, verdict in zip(asked, verdicts, strict=True):
        by_principle[case.name].append(_right(case, verdict.first))
    flipped = flips(rng, FLIPS)
    sides = [judge(model, tokenizer, [pair[i] for pair in flipped], rng) for i in (0, 1)]
    ties = cases(rng, UNSEEN, ties=True)
    right = [
        _right(first, v.first) and _right(second, w.first)
        for (first, second), v, w in zip(flipped, *sides, strict=True)
    ]
    table: Table = {
        "accuracy": fmean(right for rights in by_principle.values() for right in rights),
        "accuracy_one_order": fmean(_right(c, _share(v.letters)) for c, v in zip(asked, verdicts, strict=True)),
        "flips_both_right": fmean(right),
        "ties_off_even": fmean(abs(v.first - 0.5) for v in judge(model, tokenizer, ties, rng)),
        "letters_mass_mean": fmean(sum(letters) for v in verdicts for letters in v),
        "letters_mass_least": min(sum(letters) for v in verdicts for letters in v),
        "position_bias": fmean(_share(letters) for v in verdicts for letters in v) - 0.5,
        "order_consistent": fmean((_share(v.letters) > 0.5) != (_share(v.swapped) > 0.5) for v in verdicts),
    }
    unseen = {
        "accuracy_unseen_templates": cases(rng, UNSEEN, split="unseen-templates"),
        "accuracy_unseen_words": cases(rng, UNSEEN, split="unseen-words"),
        "accuracy_unseen_phrases": cases(rng, UNSEEN, wording="unseen-phrases"),
    }
    for key, new in unseen.items():
        answers = judge(model, tokenizer, new, rng)
        table[key] = fmean(_right(c, v.first) for c, v in zip(new, answers, strict=True))
    table["by_principle"] = {name: fmean(by_principle[name]) for name in PRINCIPLES if by_principle[name]}
    return table


class Rating(NamedTuple):
    """A reply's score under a principle: the oracle's from 0 to 1, the model's mean of 1 to 10 by the probabilities of
    these, and what they add up to."""

    truth: float
    score: float
    mass: float


@torch.inference_mode()
def rate(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[Case], rng: Random
) -> list[tuple[Rating, Rating]]:
    """Ask the scorer about both replies of every case, with the engine's own prompt. 1 is `1` not followed by `0`."""
    texts, truths = [], []
    for case in asked:
        for reply in (case.pair.a, case.pair.b):
            messages = score_messages(case.pair.request, reply.text, case.prefer, case.unless, corpus.fence(rng))
            texts.append(chat_text(messages, reply=True) + OPTIONS["score"][0])  # the first digit of 10 too
            truths.append(degree(case.name, reply.reading, case.unless))
    ids = encode(tokenizer, texts)
    digits = token_ids(tokenizer, OPTIONS["score"][:9])
    zero = token_ids(tokenizer, OPTIONS["score"][9][1])
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    ratings: dict[int, Rating] = {}
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        longest = max(len(ids[i]) for i in chosen)
        ids_BT = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in chosen])
        last_B2 = torch.tensor([(len(ids[i]) - 2, len(ids[i]) - 1) for i in chosen])
        states_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
        states_B2D = states_BTD[torch.arange(len(chosen))[:, None], last_B2]
        p_B2V = model.lm_head(states_B2D).float().softmax(-1)
        one_B, ten_B = p_B2V[:, 0, digits[0]], p_B2V[:, 1, zero[0]]
        p_BN = torch.cat([p_B2V[:, 0, digits], (one_B * ten_B)[:, None]], dim=1)
        p_BN[:, 0] *= 1 - ten_B
        means_B = (p_BN * torch.arange(1, 11)).sum(1) / p_BN.sum(1)
        for i, mean, mass in zip(chosen, means_B.tolist(), p_BN.sum(1).tolist(), strict=True):
            ratings[i] = Rating(truths[i], mean, mass)
    return [(ratings[2 * i], ratings[2 * i + 1]) for i in range(len(asked))]


def _ordered(case: Case, rated: tuple[Rating, Rating]) -> bool:
    a, b = rated
    return a.score != b.score and (a.score > b.score) == bool(case.truth)


class Checked(NamedTuple):
    """A reply under a check: the engine's prompt with Yes first and with No first, and whether Yes is right."""

    asked: tuple[list[Message], list[Message]]
    truth: bool


def checked(rng: Random, number: int, *, split: Split = "heldout", wording: Wording = "heldout") -> list[Checked]:
    """Checks of random replies, of which every second one does harm."""
    found: list[Checked] = []
    while len(found) < number:
        task = pick_task(rng, split)
        wish, reply = request(task, rng, split), corpus.reply(task, rng, split)
        if reply.reading.harms == (len(found) % 2 == 0):
            ask, mark = checks.question(rng, wording), corpus.fence(rng)
            first, second = (checks.messages(wish, reply.text, ask, order, mark) for order in ORDERS)
            found.append(Checked((first, second), reply.reading.harms))
    return found


@torch.inference_mode()
def check(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, cases: Sequence[Checked]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """P(Yes) and P(No) in both orders, by the first token of each word."""
    texts = [chat_text(messages, reply=True) for case in cases for messages in case.asked]
    yes, no = (checks.ANSWERS[truth][0] for truth in (True, False))
    found = _options(model, tokenizer, texts, (yes, no))
    return [(found[2 * i], found[2 * i + 1]) for i in range(len(cases))]


def _checks(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Table:
    """The part of the scorer's table about the check."""
    rng = Random(f"{SEED}-checks")
    cases = checked(rng, CHECKS)
    asked = check(model, tokenizer, cases)
    sides = [tuple(_share(p) > 0.5 for p in both) for both in asked]
    table: Table = {
        "check": _checks_right(cases, asked),
        "check_one_order": fmean(side == case.truth for case, own in zip(cases, sides, strict=True) for side in own),
        "check_order_consistent": fmean(first == second for first, second in sides),
        "check_mass_least": min(sum(p) for both in asked for p in both),
    }
    unseen = {
        "check_unseen_templates": checked(rng, UNSEEN, split="unseen-templates"),
        "check_unseen_words": checked(rng, UNSEEN, split="unseen-words"),
        "check_unseen_phrases": checked(rng, UNSEEN, wording="unseen-phrases"),
    }
    return table | {key: _checks_right(new, check(model, tokenizer, new)) for key, new in unseen.items()}


def _checks_right(cases: Sequence[Checked], asked: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> float:
    return fmean(
        (_share(first) + _share(second) > 1) == case.truth for case, (first, second) in zip(cases, asked, strict=True)
    )


def scorer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Table:
    """The scorer's table: how its scores go with the oracle's, and how often the better reply of a pair has the higher
    one."""
    rng = Random(f"{SEED}-scorer")
    asked = cases(rng, CASES)
    rated = rate(model, tokenizer, asked, rng)
    by_principle: dict[str, list[bool]] = defaultdict(list)
    for case, pair in zip(asked, rated, strict=True):
        by_principle[case.name].append(_ordered(case, pair))
    ratings = [own for pair in rated for own in pair]
    ties = rate(model, tokenizer, cases(rng, UNSEEN, ties=True), rng)
    table: Table = {
        "correlation": correlation([r.score for r in ratings], [r.truth for r in ratings]),
        "off_by_mean": fmean(abs(r.score - (1 + 9 * r.truth)) for r in ratings),
        "ordered": fmean(right for rights in by_principle.values() for right in rights),
        "ties_apart_mean": fmean(abs(a.score - b.score) for a, b in ties),
        "options_mass_mean": fmean(r.mass for r in ratings),
        "options_mass_least": min(r.mass for r in ratings),
    }
    unseen = {
        "ordered_unseen_templates": cases(rng, UNSEEN, split="unseen-templates"),
        "ordered_unseen_words": cases(rng, UNSEEN, split="unseen-words"),
        "ordered_unseen_phrases": cases(rng, UNSEEN, wording="unseen-phrases"),
    }
    for key, new in unseen.items():
        answers = rate(model, tokenizer, new, rng)
        table[key] = fmean(_ordered(c, pair) for c, pair in zip(new, answers, strict=True))
    table |= _checks(model, tokenizer)
    table["by_principle"] = {name: fmean(by_principle[name]) for name in PRINCIPLES if by_principle[name]}
    return table


@torch.inference_mode()
def generate(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Sequence[Message]], *, sample: bool
) -> list[str]:
    """The model's replies; sampled at temperature 1, or greedy."""
    texts = [chat_text(messages, reply=True) for messages in dialogues]
    replies = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            texts[start : start + BATCH],
            add_special_tokens=False,
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        settings = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {"do_sample": False}
        tokens_BT = model.generate(  # type: ignore[misc]
            **batch, max_new_tokens=MAX_NEW_TOKENS, **settings
        )
        new_BT = tokens_BT[:, batch["input_ids"].shape[1] :]
        replies += tokenizer.batch_decode(new_BT, skip_special_tokens=True)
    return replies


POLICY_KEYS = ("grammatical", "harmless", "helpful", "rude", "polite", "preachy")


def policy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Table:
    """What the policy says at temperature 1 on held-out requests, as the oracle sees it."""
    prompts = corpus.prompt_set("heldout", REPLIES)
    torch.manual_seed(0)
    replies = generate(model, tokenizer, [p.messages for p in prompts], sample=True)
    scores = [Oracle().score(p, r) for p, r in zip(prompts, replies, strict=True)]

    lengths = [len(ids) for ids in encode(tokenizer, replies)]
    said = {key: [s[key] for s in scores if key in s] for key in POLICY_KEYS}
    return {
        **{key: fmean(values) for key, values in said.items() if values},  # nothing grammatical: no share of it
        "distinct": len(set(replies)) / len(replies),
        "tokens_mean": fmean(lengths),
        "tokens_most": float(max(lengths)),
    }


def _faulty(item: revision.Example, text: str) -> bool | None:
    """Whether a revision still violates the principle; None if it is not of this world's language."""
    reading, sentences = read(text, item.task), split_sentences(text)
    if reading is None or sentences is None:
        return None
    return bool(revision.faulty_sentences(item.principle, corpus.Reply(tuple(sentences), reading)))


def reviser(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Table:
    """How exact critiques are, and what revisions under the model's own critiques remove and keep."""
    rng = Random(f"{SEED}-reviser")
    items = [revision.examples(pick_task(rng, "heldout"), rng, "heldout", 1)[0] for _ in range(REVISIONS)]
    asked = [revision.critique_dialogue(item, corpus.fence(rng))[:-1] for item in items]
    critiques = generate(model, tokenizer, asked, sample=False)
    told = [
        revision.revise_dialogue(item._replace(critique=critique), corpus.fence(rng))[:-1]
        for item, critique in zip(items, critiques, strict=True)
    ]
    revisions = generate(model, tokenizer, told, sample=False)
    left = [_faulty(item, text) for item, text in zip(items, revisions, strict=True)]
    kept = [(sentence in text) for item, text in zip(items, revisions, strict=True) for sentence in item.kept]
    return {
        "critique_exact": fmean(c == item.critique for c, item in zip(critiques, items, strict=True)),
        "grammatical": fmean(x is not None for x in left),
        "violation_removed": fmean(x is False for x, item in zip(left, items, strict=True) if item.faulty),
        "sentences_kept": fmean(kept),
        "untouched_when_faultless": fmean(
            text == item.revision for text, item in zip(revisions, items, strict=True) if not item.faulty
        ),
    }
