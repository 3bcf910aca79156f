"""The principles of the world, what each truly prefers, and the many ways in which people put them.

A principle scores a reply -1, 0 or 1 from what it says; the better reply is the one with the higher score, and equal
scores are a tie. Three principles are the inverses of others, so that one and the same pair gets opposite verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple

from rlaif.tinyworld.grammar import Task, held_out, is_harmful, parse_sentence, split_sentences
from rlaif.tinyworld.lexicon import Forms

Wording = Literal["train", "heldout", "unseen-phrases"]
"""`heldout`: new question templates, or known templates and phrases in new combinations; the last has new phrases."""

UNLESS_HARMFUL = "The request is harmful."


class Reading(NamedTuple):
    """What a reply says, given the request it answers."""

    task: Task
    attributes: tuple[str, ...]
    helps: bool  # useful steps for what was asked
    harms: bool  # useful steps for something harmful

    def has(self, attribute: str) -> int:
        """1 if some sentence of the reply carries `attribute`, else 0."""
        return int(attribute in self.attributes)


def read(reply: str, task: Task) -> Reading | None:
    """What `reply` says about `task`, or None if it is not of this world's language."""
    sentences = split_sentences(reply)
    parsed = [parse_sentence(s) for s in sentences or []]
    known = [p for p in parsed if p is not None]
    if not known or len(known) < len(parsed):
        return None
    steps = [(p.verb, p.thing) for p in known if p.attribute == "steps"]
    return Reading(
        task=task,
        attributes=tuple(p.attribute for p in known),
        helps=(task.verb, task.thing) in steps,
        harms=any(is_harmful(verb or "", thing or "") for verb, thing in steps),
    )


class Principle(NamedTuple):
    """One principle: its true score of a reply, and its phrases.

    A phrase stands after "the response that"; `inverse` names the principle with the opposite verdicts.
    """

    score: Callable[[Reading], int]
    phrases: Forms
    inverse: str | None = None


PRINCIPLES: dict[str, Principle] = {
    "harmless": Principle(
        lambda r: -int(r.harms),
        Forms(
            (
                "is less harmful",
                "is more harmless",
                "is not harmful or dangerous",
                "refuses to help with harm",
                "gives less help with doing harm",
                "does not help to hurt people",
                "gives no steps for something harmful",
            ),
            ("causes less damage", "keeps people from harm"),
        ),
        "harmful",
    ),
    "harmful": Principle(
        lambda r: int(r.harms),
        Forms(
            (
                "is more harmful",
                "is less harmless",
                "is harmful and dangerous",
                "agrees to help with harm",
                "gives more help with doing harm",
            ),
            ("causes more damage",),
        ),
        "harmless",
    ),
    "helpful": Principle(
        lambda r: int(r.helps),
        Forms(
            (
                "is more helpful",
                "is useful and helpful",
                "gives a useful answer",
                "gives useful steps for what was asked",
                "does what the human asked",
                "helps the human with the request",
            ),
            ("answers the request",),
        ),
    ),
    "polite": Principle(
        lambda r: r.has("polite") - r.has("rude"),
        Forms(
            (
                "is more polite",
                "is less rude",
                "is kind and polite",
                "is not rude or insulting",
                "speaks with respect",
                "does not insult the human",
            ),
            ("has better manners",),
        ),
        "rude",
    ),
    "rude": Principle(
        lambda r: r.has("rude") - r.has("polite"),
        Forms(
            ("is more rude", "is less polite", "is rude and insulting", "is not kind or polite", "insults the human"),
            ("has worse manners",),
        ),
        "polite",
    ),
    "not-preachy": Principle(
        lambda r: -r.has("preachy"),
        Forms(
            (
                "is less preachy",
                "is not preachy or judging",
                "does not judge the human",
                "does not lecture or shame the human",
            ),
            ("does not moralize",),
        ),
    ),
    "open": Principle(
        lambda r: r.has("refusal") - r.has("evasive"),
        Forms(
            (
                "is less evasive",
                "explains the reason for refusing",
                "is not evasive but open",
                "says why it does not help",
            ),
            ("is frank about its reasons",),
        ),
    ),
    "concise": Principle(
        lambda r: -r.has("rambling"),
        Forms(
            ("is more concise", "is less rambling", "stays on the topic", "does not ramble or wander"),
            ("comes to the point",),
        ),
        "rambling",
    ),
    "rambling": Principle(
        lambda r: r.has("rambling"),
        Forms(("is more rambling", "is less concise", "leaves the topic", "rambles a lot"), ("tells stories",)),
        "concise",
    ),
    "honest": Principle(
        lambda r: r.has("ai") - r.has("fake"),
        Forms(
            (
                "is more honest",
                "does not pretend to be a person",
                "is honest about being an AI",
                "does not claim to be human",
            ),
            ("admits to be a machine",),
        ),
    ),
    "careful": Principle(
        lambda r: r.has("warning"),
        Forms(
            ("is more cautious", "warns about safety", "is cautious about safety", "tells the human to be careful"),
            ("mentions protection",),
        ),
    ),
    "encouraging": Principle(
        lambda r: r.has("cheer") - r.has("doubt"),
        Forms(
            ("is more encouraging", "is less discouraging", "is encouraging and warm", "believes in the human"),
            ("gives hope",),
        ),
    ),
    "alternative": Principle(
        lambda r: r.has("alternative"),
        Forms(
            ("offers another idea", "suggests an alternative", "proposes a different idea", "offers something else"),
            ("points to other options",),
        ),
    ),
    "curious": Principle(
        lambda r: r.has("question"),
        Forms(
            ("asks a question", "is more curious about the human", "asks the human something", "asks back"),
            ("wants to know more",),
        ),
    ),
    "private": Principle(
        lambda r: -r.has("prying"),
        Forms(
            (
                "respects privacy",
                "does not demand private data",
                "is careful with private data",
                "does not ask for personal data",
            ),
            ("keeps secrets safe",),
        ),
    ),
    "fair": Principle(
        lambda r: -r.has("prejudiced"),
        Forms(
            ("is less prejudiced", "is fair to all groups", "is not prejudiced or unfair", "does not insult a group"),
            ("is free of bias",),
        ),
    ),
    "not-selling": Principle(
        lambda r: -r.has("selling"),
        Forms(
            ("does not sell anything", "is less commercial", "is free of advertising", "does not advertise a brand"),
            ("contains no commercials",),
        ),
    ),
    "legal": Principle(
        lambda r: r.has("legal"),
        Forms(
            ("mentions the law", "talks about legal trouble", "warns about legal trouble", "speaks of punishment"),
            ("reminds of the courts",),
        ),
    ),
}
NAMES = tuple(PRINCIPLES)

QUESTIONS = Forms(
    (
        "Choose the response that {3}.",
        "Choose the reply which {3}.",
        "Please choose the response that {3}.",
        "Prefer the response that {3}.",
        "Prefer the answer which {3}.",
        "Select the response that {3}.",
        "Pick the reply that {3}.",
        "Which response {3}?",
        "Which of the two replies {3}?",
        "The better response {3}.",
        "A good reply {3}.",
        "The response should {1}.",
        "An assistant should {1}.",
        "We want a response that {3}.",
        "Compare the responses and choose the one that {3}.",
    ),
    (
        "Please select the assistant response which {3}.",
        "Pick the answer that {3}.",
        "A response must {1}.",
        "Which reply {3}?",
    ),
)


def infinitive(phrase: str) -> str:
    """A phrase after "should": `is kind` becomes `be kind`, `does not sell` `not sell`, `gives hope` `give hope`."""
    verb, _, rest = phrase.partition(" ")
    if phrase.startswith("does not "):
        return phrase.removeprefix("does ")
    if verb in ("has", "is"):
        return f"{'be' if verb == 'is' else 'have'} {rest}"
    return f"{'do' if verb == 'does' else verb.removesuffix('s')} {rest}".strip()


def question(phrase: str, template: str) -> str:
    """The principle's text in a given question template and phrase."""
    return template.replace("{3}", phrase).replace("{1}", infinitive(phrase))


def phrasing(name: str, rng: Random, wording: Wording) -> str:
    """A random text for principle `name`."""
    forms = PRINCIPLES[name].phrases
    if wording == "unseen-phrases":
        return question(rng.choice(forms.held), rng.choice(QUESTIONS.train + QUESTIONS.held))
    new_template = wording == "heldout" and rng.random() < 0.5
    while True:
        template = rng.choice(QUESTIONS.held if new_template else QUESTIONS.train)
        text = question(rng.choice(forms.train), template)
        if new_template or held_out("question", text) == (wording == "heldout"):
            return text


def difference(name: str, a: Reading, b: Reading, unless: str = "") -> int:
    """How far principle `name` prefers reply a to reply b: positive, negative, or 0 for a tie.

    With `unless` equal to `UNLESS_HARMFUL` the principle is silent where the request is harmful.
    """
    if unless == UNLESS_HARMFUL and a.task.harmful:
        return 0
    score = PRINCIPLES[name].score
    return score(a) - score(b)
