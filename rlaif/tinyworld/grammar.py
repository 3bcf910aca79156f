"""The world's language: tasks, requests, and sentences that each carry one attribute; generation and exact parsing.

A template and the words in its slots determine a sentence, and a sentence determines both again: `parse_sentence` is
the inverse of `fill`. What training may see and what is held out is decided here, by a hash of the finished text.
"""

from __future__ import annotations

import re
import zlib
from functools import cache, lru_cache
from random import Random
from typing import Literal, NamedTuple

from rlaif.tinyworld.lexicon import BENIGN, HARMFUL, REQUESTS, SENTENCES, UNCOUNTED, WORDS, Forms

Split = Literal["train", "heldout", "unseen-templates", "unseen-words"]
"""`heldout`: known templates and words in texts never trained on; the other two use forms never trained on."""

HELD_OUT_IN = 5
SILENT_H = frozenset({"honest"})
SLOT = re.compile(r"\{([aA] )?(\w+)\}")
ATTRIBUTES = tuple(SENTENCES)


class Task(NamedTuple):
    """What a request asks for."""

    verb: str
    thing: str
    harmful: bool


class Parsed(NamedTuple):
    """A sentence's attribute and the task it names, as far as it names one."""

    attribute: str
    verb: str | None
    thing: str | None


def held_out(kind: str, text: str) -> bool:
    """Whether `text` is kept from training: one in `HELD_OUT_IN`, by its hash."""
    return zlib.crc32(f"{kind}:{text}".encode()) % HELD_OUT_IN == 0


def is_harmful(verb: str, thing: str) -> bool:
    """Whether a verb done to a thing does harm; total, so that it also judges tasks nobody requests."""
    return verb in HARMFUL and (verb not in BENIGN or thing in HARMFUL[verb])


TASKS = tuple(Task(v, o, harm) for table, harm in ((BENIGN, False), (HARMFUL, True)) for v in table for o in table[v])


def _split_tasks() -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Training and held-out tasks; every verb and every thing stays in some training task."""
    train = list(TASKS)
    for task in TASKS:
        others = [t for t in train if t != task]
        known = any(t.verb == task.verb for t in others) and any(t.thing == task.thing for t in others)
        if held_out("task", f"{task.verb} {task.thing}") and known:
            train.remove(task)
    return tuple(train), tuple(t for t in TASKS if t not in train)


TRAIN_TASKS, HELD_OUT_TASKS = _split_tasks()
VERBS = tuple(sorted({t.verb for t in TASKS}))
THINGS = tuple(sorted({t.thing for t in TASKS}))


def with_article(phrase: str) -> str:
    """`phrase` with its indefinite article: `a map`, `an axe`, `some rice`."""
    if phrase in UNCOUNTED:
        return f"some {phrase}"
    return f"an {phrase}" if phrase[0].lower() in "aeiou" or phrase in SILENT_H else f"a {phrase}"


def fill(template: str, slots: dict[str, str]) -> str:
    """The sentence that `template` makes of the words in `slots`."""

    def word(match: re.Match[str]) -> str:
        text = slots[match[2]]
        if match[1] is None:
            return text
        phrase = with_article(text)
        return phrase[0].upper() + phrase[1:] if match[1] == "A " else phrase

    return SLOT.sub(word, template)


def slot_names(template: str) -> list[str]:
    """The names of a template's slots, in order."""
    return [match[2] for match in SLOT.finditer(template)]


def _choices(slot: str) -> tuple[str, ...]:
    if slot in ("v", "v2"):
        return VERBS
    return THINGS if slot in ("o", "o2") else WORDS[slot].train + WORDS[slot].held


@cache
def _pattern(template: str) -> re.Pattern[str]:
    parts, end = [], 0
    for match in SLOT.finditer(template):
        words = "|".join(re.escape(w) for w in sorted(_choices(match[2]), key=len, reverse=True))
        article = "(?:[aA]n? |[sS]ome )" if match[1] else ""
        parts.append(f"{re.escape(template[end : match.start()])}{article}(?P<{match[2]}>{words})")
        end = match.end()
    return re.compile("".join(parts) + re.escape(template[end:]))


def unfill(template: str, text: str) -> dict[str, str] | None:
    """The words that make `text` of `template`, or None: the inverse of `fill`."""
    match = _pattern(template).fullmatch(text)
    if match is None:
        return None
    slots = match.groupdict()
    return slots if fill(template, slots) == text else None


@lru_cache(maxsize=200_000)
def parse_sentence(text: str) -> Parsed | None:
    """The attribute of one sentence, or None if no template makes it."""
    for attribute, forms in SENTENCES.items():
        for template in forms.train + forms.held:
            slots = unfill(template, text)
            if slots is not None:
                return Parsed(attribute, slots.get("v"), slots.get("o"))
    return None


def split_sentences(text: str) -> list[str] | None:
    """The sentences of a text, or None where it is not whole sentences with one space between them."""
    sentences = [s.strip() for s in re.findall(r"[^.?]+[.?]", text)]
    return sentences if sentences and " ".join(sentences) == text.strip() else None


@lru_cache(maxsize=20_000)
def parse_request(text: str) -> Task | None:
    """The task that a user's message asks for, or None if it is no request of this world."""
    for template in REQUESTS.train + REQUESTS.held:
        slots = unfill(template, text.strip())
        if slots is not None:
            return Task(slots["v"], slots["o"], is_harmful(slots["v"], slots["o"]))
    return None


def _words(slot: str, split: Split) -> tuple[str, ...]:
    forms = WORDS[slot]
    return forms.held if split == "unseen-words" and forms.held else forms.train


def _templates(forms: Forms, split: Split) -> tuple[str, ...]:
    return forms.held if split == "unseen-templates" else forms.train


def sentence(attribute: str, task: Task, rng: Random, split: Split) -> str:
    """A random sentence with `attribute` about `task`.

    About a training task a `train` text is never a `heldout` one: that has the other hash, or names a held-out task.
    """
    new_task = task in HELD_OUT_TASKS
    for _ in range(200):
        template = rng.choice(_templates(SENTENCES[attribute], split))
        slots = {"v": task.verb, "o": task.thing}
        names = slot_names(template)
        for name in names:
            if name in WORDS:
                slots[name] = rng.choice(_words(name, split))
        if "{v2}" in template:
            other = rng.choice([t for t in TRAIN_TASKS if not t.harmful])
            slots |= {"v2": other.verb, "o2": other.thing}
        text = fill(template, slots)
        held = held_out("sentence", text) or (split == "heldout" and new_task and {"v", "o"} <= set(names))
        if split not in ("train", "heldout") or held == (split == "heldout"):
            return text
    raise AssertionError(f"no {split} sentence for {attribute} about {task}")


def pick_task(rng: Random, split: Split, harmful: float = 0.5) -> Task:
    """A random task of the split, harmful with the given probability."""
    wanted = rng.random() < harmful
    tasks = TRAIN_TASKS if split == "train" else HELD_OUT_TASKS
    return rng.choice([t for t in tasks if t.harmful == wanted])


def any_task(rng: Random, harmful: float = 0.5) -> Task:
    """A random verb with a random thing, listed or not: whoever writes about such tasks must copy, not remember."""
    verb = rng.choice(tuple(HARMFUL if rng.random() < harmful else BENIGN))
    thing = rng.choice(THINGS)
    return Task(verb, thing, is_harmful(verb, thing))


def request(task: Task, rng: Random, split: Split) -> str:
    """A user's message that asks for `task`, in a phrasing of the split."""
    phrasings = REQUESTS.train if split == "train" else REQUESTS.held
    return fill(rng.choice(phrasings), {"v": task.verb, "o": task.thing})
