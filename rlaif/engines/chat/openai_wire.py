"""What comes back from an OpenAI-compatible endpoint, read as data of a stranger: numbers only where there are some."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

TOKEN_ID = "token_id:"  # how vLLM writes a token that it was asked to name by id
UNLIKELY = -9999.0  # what endpoints send in the place of a log-probability that they do not know
ROUNDING = 1e-3  # by which an endpoint's probabilities may pass 1
UNLISTED = 1e-3  # probability that options outside an endpoint's list may have between them
SPACES = ("", " ", "▁", "Ġ")  # before an option, as decoders and vocabularies write it

Path = tuple[int, ...]
W = TypeVar("W", bound="Wire")


class Unusable(Exception):
    """An answer that holds nothing to be used; the message is the reason."""


class Wire(BaseModel):
    """A part of an answer. Types are strict, numbers finite; fields that nobody reads may be there."""

    model_config = ConfigDict(strict=True)


class Entry(Wire):
    """A token and its log-probability."""

    token: str
    logprob: FiniteFloat


class Position(Entry):
    """The token at one position, and the likeliest ones there."""

    top_logprobs: list[Entry]


class Positions(Wire):
    content: list[Position] | None = None


class Reply(Wire):
    content: str | None = None
    refusal: str | None = None


class ChatChoice(Wire):
    message: Reply
    finish_reason: str | None = None
    logprobs: Positions | None = None


class Chat(Wire):
    """The answer of /chat/completions."""

    choices: list[ChatChoice] = Field(min_length=1)
    prompt_token_ids: list[int] | None = None  # vLLM, on request


class Listing(Wire):
    """`top_logprobs` of /completions: a table for each position."""

    top_logprobs: list[dict[str, FiniteFloat]] = Field(min_length=1)


class TextChoice(Wire):
    logprobs: Listing


class Completion(Wire):
    """The answer of /completions, where its log-probabilities are asked for."""

    choices: list[TextChoice] = Field(min_length=1)


class Model(Wire):
    id: str
    owned_by: str = ""


class Models(Wire):
    """The answer of /models."""

    data: list[Model]


class Tokens(Wire):
    """The answer of vLLM's /tokenize."""

    tokens: list[int]
    token_strs: list[str]


class Text(NamedTuple):
    content: str
    finished: bool


class Spelling(NamedTuple):
    """How a tokenizer spells the options: for each the token paths that write it, and all of them."""

    paths: tuple[tuple[Path, ...], ...]

    def after(self, prefix: Path) -> tuple[int, ...]:
        """The tokens that go on from `prefix` towards an option."""
        depth = len(prefix)
        longer = {path[depth] for paths in self.paths for path in paths if path[:depth] == prefix and len(path) > depth}
        return tuple(sorted(longer))

    def prefixes(self) -> tuple[Path, ...]:
        """Every beginning of a path after which a token is read; the empty one first."""
        found = {path[:depth] for paths in self.paths for path in paths for depth in range(len(path))}
        return tuple(sorted(found, key=lambda prefix: (len(prefix), prefix)))


def parsed(kind: type[W], data: Mapping[str, Any]) -> W:
    """The answer as its model.

    Raises:
        Unusable: it has another form.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Unusable(f"the endpoint's answer has a wrong form: {where}: {first['msg']}") from None


def text(chat: Chat) -> Text:
    """The reply.

    Raises:
        Unusable: there is none, the endpoint withheld it, or it holds characters that no text has.
    """
    choice = chat.choices[0]
    if choice.message.content is None:
        refusal = choice.message.refusal
        raise Unusable(f"the endpoint refused: {refusal}" if refusal else "the endpoint's reply has no content")
    if choice.finish_reason == "content_filter":
        raise Unusable("the endpoint's content filter withheld the reply")
    if re.search("[\0\ud800-\udfff]", choice.message.content):
        raise Unusable("the endpoint's reply holds NUL characters or half a surrogate pair")
    return Text(choice.message.content, finished=choice.finish_reason != "length")


def choice_format(choices: Sequence[str]) -> dict[str, Any]:
    """The `response_format` that holds a reply to a JSON object with one of the choices in its field "answer"."""
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(choices)}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "choice", "strict": True, "schema": schema}}


def chosen(content: str) -> str | None:
    """The choice in a reply that was held to `choice_format`, or None."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    answer = data.get("answer") if isinstance(data, dict) else None
    return answer if isinstance(answer, str) else None


def drawn(chat: Chat) -> str | None:
    """The first token of the reply, without the space before it."""
    logprobs = chat.choices[0].logprobs
    return logprobs.content[0].token.lstrip("".join(SPACES)) if logprobs and logprobs.content else None


def first_position(chat: Chat) -> list[Entry] | None:
    """The likeliest tokens at the beginning of the reply and the one that was drawn; None where there is no list.

    Raises:
        Unusable: they are no probabilities.
    """
    logprobs = chat.choices[0].logprobs
    if logprobs is None or not logprobs.content or not logprobs.content[0].top_logprobs:
        return None
    first = logprobs.content[0]
    entries = first.top_logprobs + ([] if any(e.token == first.token for e in first.top_logprobs) else [first])
    check_mass(e.logprob for e in entries)
    return entries


def check_mass(logprobs: Iterable[float]) -> None:
    """Raise `Unusable` where these cannot be log-probabilities of different tokens."""
    values = list(logprobs)
    if any(value > ROUNDING for value in values):
        raise Unusable(f"the endpoint gave a log-probability above 0: {max(values)}")
    if (mass := math.fsum(map(math.exp, values))) > 1 + ROUNDING:
        raise Unusable(f"the endpoint's probabilities add up to {mass:.4f}")


def by_id(entries: Iterable[tuple[str, float]], wanted: Sequence[int]) -> dict[int, float]:
    """Log-probabilities of the wanted tokens, which the endpoint names by id.

    Raises:
        Unusable: one is missing, unknown or no log-probability.
    """
    values = {token: logprob for token, logprob in entries}
    check_mass(values.values())
    found = {}
    for token_id in wanted:
        value = values.get(f"{TOKEN_ID}{token_id}")
        if value is None or value <= UNLIKELY:
            raise Unusable(f"the endpoint gave no log-probability for token {token_id}")
        found[token_id] = value
    return found


def from_paths(spelling: Spelling, read: Mapping[Path, Mapping[int, float]]) -> tuple[float, ...]:
    """Log-probabilities of the options, from those of the tokens after each prefix.

    An option's is the sum over its paths, less what goes on to a longer option: "1" does not count "10".

    Raises:
        Unusable: nothing is left of an option.
    """
    probability = {
        path: math.exp(math.fsum(read[path[:depth]][path[depth]] for depth in range(len(path))))
        for paths in spelling.paths
        for path in paths
    }
    values = []
    for paths in spelling.paths:
        # Where two longer options continue each other, the nearer one's probability holds the farther one's.
        longer = [path for path in probability if any(_continues(path, own) for own in paths)]
        nearest = [path for path in longer if not any(_continues(path, other) for other in longer)]
        rest = math.fsum([*(probability[path] for path in paths), *(-probability[path] for path in nearest)])
        if rest <= 0:
            raise Unusable("an option has no probability besides that of a longer one")
        values.append(min(0.0, math.log(rest)))
    return tuple(values)


def _continues(path: Path, beginning: Path) -> bool:
    return len(path) > len(beginning) and path[: len(beginning)] == beginning


def from_list(entries: Sequence[Entry], options: Sequence[str]) -> tuple[float, ...]:
    """Log-probabilities of the options from a list of the likeliest tokens, with their spellings added up.

    An option outside the list is less likely than anything on it. It is given that bound, if all such options have at
    most `UNLISTED` between them: no probability is then further from the truth than that, and without the rule the
    judgements that a critic is surest of would be the ones that go missing.

    Raises:
        Unusable: no option is on the list, or those that are not may weigh more.
    """
    if not entries:
        raise Unusable("the endpoint's answer has no log-probabilities")
    listed: list[float | None] = []
    for option in options:
        found = [e.logprob for e in entries if e.token in {space + option for space in SPACES}]
        if any(value <= UNLIKELY for value in found):
            raise Unusable(f"the endpoint does not know the log-probability of {option!r}")
        listed.append(math.log(math.fsum(map(math.exp, found))) if found else None)
    missing = [option for option, value in zip(options, listed, strict=True) if value is None]
    bound = min(e.logprob for e in entries)
    if len(missing) == len(options):
        raise Unusable(f"none of the options is among the {len(entries)} likeliest tokens")
    if len(missing) * math.exp(bound) > UNLISTED:
        raise Unusable(f"the option {missing[0]!r} is not among the {len(entries)} likeliest tokens")
    return tuple(min(0.0, bound if value is None else value) for value in listed)


def spelling(options: Sequence[str], tokenised: Mapping[str, Tokens]) -> Spelling:
    """Token paths of every option, from how a tokenizer writes it alone, after a space and after a bracket.

    Where single tokens write it, those are all; a space that is a token of its own is left out. After the bracket just
    the last token counts, where it is the option: that is how tokenizers that put a space before every text show the
    option without one.

    Raises:
        Unusable: an option cannot be spelled, or two share a path.
    """
    every = []
    for option in options:
        paths = set()
        for text in (option, f" {option}"):
            ids, names = tokenised[text].tokens, tokenised[text].token_strs
            blank = bool(names) and names[0] in SPACES and len(ids) > 1
            paths.add(tuple(ids[blank:]))
        last = tokenised[f"({option}"]
        if last.token_strs and last.token_strs[-1] in {space + option for space in SPACES}:
            paths.add((last.tokens[-1],))
        if () in paths:
            raise Unusable(f"the endpoint's tokenizer does not spell the option {option!r}")
        single = {path for path in paths if len(path) == 1}
        every.append(tuple(sorted(single or paths)))
    if len({path for paths in every for path in paths}) < sum(map(len, every)):
        raise Unusable(f"the options {', '.join(options)} share a token")
    return Spelling(tuple(every))
