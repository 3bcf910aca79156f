"""Makes the reviser's examples: a reply, a critique of it under one principle, and its revision.

The critique quotes the offending sentences, or says that there are none; the revision drops or replaces exactly those
and copies the rest.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from rlaif.critique import templates
from rlaif.records.prompt import Message
from rlaif.tinyworld.corpus import Reply, plan, write
from rlaif.tinyworld.grammar import Split, Task, request, sentence


class Fault(NamedTuple):
    """What a principle finds fault with: an adjective, the attributes that show it, and what people call it."""

    adjective: str
    attributes: tuple[str, ...]
    nouns: tuple[str, ...]


FAULTS: dict[str, Fault] = {
    "harmless": Fault("harmful", ("steps", "detail"), ("harmful or dangerous", "harmful", "a help with doing harm")),
    "helpful": Fault("not helpful", ("unknown", "evasive", "refusal"), ("not helpful", "useless", "no help")),
    "polite": Fault("rude", ("rude",), ("rude or insulting", "rude", "not polite")),
    "not-preachy": Fault("preachy", ("preachy",), ("preachy or judging", "preachy", "a lecture")),
    "concise": Fault("rambling", ("rambling",), ("rambling", "off the topic", "not concise")),
    "honest": Fault("dishonest", ("fake",), ("dishonest", "pretending to be a person", "claiming to be human")),
    "private": Fault("prying", ("prying",), ("prying", "demanding private data", "asking for personal data")),
    "fair": Fault("prejudiced", ("prejudiced",), ("prejudiced", "unfair to a group", "insulting to a group")),
    "not-selling": Fault("selling something", ("selling",), ("selling something", "commercial", "advertising")),
}
CRITIQUE_REQUESTS = (
    "Point out every way in which the response is {0}.",
    "Point out every sentence of the response that is {0}.",
    "Say whether the response is {0}.",
    "Identify the parts of the response that are {0}.",
    "Explain how the response is {0}.",
    "Is the response {0}?",
)
REVISION_REQUESTS = (
    "Rewrite the response so that it is not {0}.",
    "Rewrite the response without anything that is {0}.",
    "Remove everything from the response that is {0}.",
    "Change the response so that nothing in it is {0}.",
    "Revise the response: it should not be {0}.",
    "Give a response that is not {0}.",
)
HELPFUL_REVISIONS = (
    "Rewrite the response so that it is helpful.",
    "Rewrite the response so that it helps with the request.",
    "Rewrite the response so that it gives useful steps for what was asked.",
    "Make the response more helpful.",
)
HELD_OUT_REQUESTS = 1  # of each of the three lists above, the last


class Example(NamedTuple):
    """One critique and revision, with what shaped it."""

    principle: str
    task: Task
    request: str
    reply: Reply
    critique_request: str
    critique: str
    revision_request: str
    revision: str
    kept: tuple[str, ...]
    faulty: bool


def faulty_sentences(principle: str, reply: Reply) -> list[int]:
    """Which sentences of a reply violate the principle.

    Steps are at fault only where they help with harm, and a reply that declines only where it should have helped.
    """
    reading = reply.reading
    if principle == "harmless" and not reading.harms:
        return []
    if principle == "helpful" and (reading.task.harmful or reading.helps):
        return []
    return [i for i, a in enumerate(reading.attributes) if a in FAULTS[principle].attributes]


def critique_text(principle: str, reply: Reply, faulty: list[int]) -> str:
    """The critique: the fault and the sentences that show it."""
    adjective = FAULTS[principle].adjective
    if not faulty:
        return "The response is helpful enough." if principle == "helpful" else f"The response is not {adjective}."
    return f"The response is {adjective} because it says: " + " ".join(reply.sentences[i] for i in faulty)


def revise_text(
    principle: str, reply: Reply, faulty: list[int], rng: Random, split: Split
) -> tuple[str, tuple[str, ...]]:
    """The revision, and the sentences that it keeps."""
    task = reply.reading.task
    kept = tuple(s for i, s in enumerate(reply.sentences) if i not in faulty)
    new = None
    if faulty and (principle in ("harmless", "helpful") or not kept):
        new = sentence("refusal" if task.harmful else "steps", task, rng, split)
    sentences = list(kept)
    if new is not None:
        sentences.insert(faulty[0], new)
    return " ".join(sentences), kept


def _requests(principle: str, rng: Random, split: Split) -> tuple[str, str]:
    def pick(forms: tuple[str, ...]) -> str:
        return rng.choice(forms[:-HELD_OUT_REQUESTS] if split == "train" else forms)

    nouns = FAULTS[principle].nouns
    critique = pick(CRITIQUE_REQUESTS).format(rng.choice(nouns))
    if principle == "helpful":
        return critique, pick(HELPFUL_REVISIONS)
    return critique, pick(REVISION_REQUESTS).format(rng.choice(nouns))


def examples(task: Task, rng: Random, split: Split, number: int, faulty: float = 0.75) -> list[Example]:
    """Examples about one random reply to a request for `task`, under several principles.

    `faulty` is the probability of choosing a principle that the reply violates, where there is one.
    """
    reply = write(plan(task, rng), task, rng, split)
    violated = [p for p in FAULTS if faulty_sentences(p, reply)]
    chosen = []
    for _ in range(number):
        principle = rng.choice(violated) if violated and rng.random() < faulty else rng.choice(list(FAULTS))
        wrong = faulty_sentences(principle, reply)
        asked, told = _requests(principle, rng, split)
        revision, kept = revise_text(principle, reply, wrong, rng, split)
        chosen.append((principle, asked, critique_text(principle, reply, wrong), told, revision, kept, bool(wrong)))
    asks = request(task, rng, split)
    return [
        Example(principle, task, asks, reply, asked, critique, told, revision, kept, wrong)
        for principle, asked, critique, told, revision, kept, wrong in chosen
    ]


def critique_dialogue(item: Example, mark: str) -> list[Message]:
    """The engine's request for a critique, and the critique."""
    messages = templates.render(
        templates.load("revise/critique", "en"),
        fence=mark,
        conversation=[Message(role="user", content=item.request)],
        response=item.reply.text,
        critique_request=item.critique_request,
    )
    return [*messages, Message(role="assistant", content=item.critique)]


def revise_dialogue(item: Example, mark: str) -> list[Message]:
    """The engine's request for a revision in the light of the critique, and the revision."""
    messages = templates.render(
        templates.load("revise/revise", "en"),
        fence=mark,
        conversation=[Message(role="user", content=item.request)],
        response=item.reply.text,
        critique=item.critique,
        revision_request=item.revision_request,
    )
    return [*messages, Message(role="assistant", content=item.revision)]
