"""The constitution: principles in plain language, and the axes that they speak for.

A constitution is data that a person writes and that may come from anywhere: its texts are never templates, it names
no endpoint, and it can reach other files only through `extends`, by a relative path to a YAML file. `load` gives the
resolved constitution, with the principles and axes of every extended file in it; `read` is the same for a linter,
which wants every fault and the place of every principle instead of the first error.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from rlaif.records import files, shipped, strict_yaml
from rlaif.records.base import Record
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message

MAX_EXTENDS_DEPTH = 16
# A pair costs two judgements a principle, so this is far past what anybody can pay for.
MAX_PRINCIPLES = 256
# A constitution and all that it extends, in files; and the axes of one file, each of which becomes a model.
MAX_FILES = 32
MAX_AXES = 64
SLUG = r"^[a-z0-9][a-z0-9_-]{0,63}$"


def _slug(value: str) -> str:
    if not re.fullmatch(SLUG, value):
        problem = f"{value[:80]!r} cannot be a name"
        raise ValueError(problem, "use 1 to 64 small letters, digits, - and _, a letter or digit first")
    return value


def _as_conversation(value: Any) -> Any:
    """A prompt given as text is one user turn."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise ValueError("this is neither text nor a list of messages", "write the user's words, in quotes")
    return value


def _waits_for_reply(messages: list[Message]) -> list[Message]:
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise ValueError("the prompt does not end with a user turn", "end it with what the user asks")
    return messages


Slug = Annotated[str, AfterValidator(_slug), WithJsonSchema({"type": "string", "pattern": SLUG})]
# A pattern says in JSON Schema what stripping and a least length say here: some character that is no space.
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    WithJsonSchema({"type": "string", "pattern": r"\S"}),
]
Weight = Annotated[float, Field(ge=1e-3, le=1e3)]
Conversation = Annotated[
    list[Message],
    BeforeValidator(_as_conversation, json_schema_input_type=Text | Annotated[list[Message], Field(min_length=1)]),
    AfterValidator(_waits_for_reply),
]


class Axis(Record):
    """What principles speak for. Each axis becomes its own label, and its own reward or cost model.

    A reward axis is maximised, a cost axis held below `limit`. `weight` is the axis's share in the overall label,
    beside the weights of its principles.
    """

    kind: Literal["reward", "cost"] = Field(description="reward: more is better. cost: to be held below `limit`")
    weight: Weight = Field(default=1.0, description="the axis's share in the overall label")
    limit: float = Field(default=0.0, description="of a cost axis: the highest average cost that training may leave")

    @model_validator(mode="after")
    def _limit_fits_kind(self) -> Axis:
        if self.kind == "reward" and self.limit != 0.0:
            raise ValueError("a reward axis has no `limit`", "remove `limit`, or make the axis `kind: cost`")
        return self


class PrincipleTest(Record):
    """A principle's own unit test: of two responses to `prompt`, a critic must find `better` the better one."""

    prompt: Conversation = Field(description="the user's words, or a list of {role, content} that ends with the user")
    better: Text = Field(description="the response that the critic must find better")
    worse: Text = Field(description="the response that it is compared with")

    @model_validator(mode="after")
    def _responses_differ(self) -> PrincipleTest:
        if self.better == self.worse:
            raise ValueError("`better` and `worse` are the same text", "write two different responses")
        return self


# What `_checks_have_a_question` holds, for editors.
QUESTION_OF_A_CHECK: dict[str, JsonValue] = {
    "if": {"properties": {"kind": {"const": "check"}}, "required": ["kind"]},
    "then": {"required": ["ask", "good"], "properties": {"ask": {"type": "string"}, "good": {"type": "string"}}},
    "else": {"properties": {"ask": {"type": "null"}, "good": {"type": "null"}}},
}


class Principle(Record):
    """One thing that a response should do, as a critic reads it.

    A `compare` principle is asked of both responses at once: which follows `prefer` better? A `check` is asked of each
    response alone: the yes/no question `ask`, whose `good` answer is said; on a cost axis the other answer is the sign
    "unsafe", under `category`. `unless` is read as an exception. `critique` and `revise` are the requests of the
    critique and revision stage.
    """

    model_config = ConfigDict(json_schema_extra=QUESTION_OF_A_CHECK)

    id: Slug = Field(description="the principle's name, unique in the constitution and all that it extends")
    axis: Slug = Field(description="what it speaks for: one of `axes`, its own or inherited")
    kind: Literal["compare", "check"] = Field(
        default="compare", description="compare: asked of both responses at once. check: a question about each alone"
    )
    weight: Weight = Field(default=1.0, description="the principle's share in its axis")
    prefer: Text = Field(description="what the critic is asked: Choose the response that ...")
    ask: Text | None = Field(default=None, description="of a check: the yes/no question, Does the response ...?")
    good: Literal["yes", "no"] | None = Field(default=None, description="of a check: which answer is good")
    category: Text | None = Field(default=None, description="of a check on a cost axis: the harm that its labels name")
    paraphrases: list[Text] = Field(default_factory=list, description="the same in other words")
    critique: Text | None = Field(default=None, description="how the model is asked to criticise a response")
    revise: Text | None = Field(default=None, description="how the model is asked to rewrite it")
    unless: Text | None = Field(default=None, description="an exception, which the critic reads")
    veto: bool = Field(default=False, description="where this principle is confident, it decides its axis alone")
    tests: list[PrincipleTest] = Field(default_factory=list, description="the principle's own unit tests")

    @property
    def content_hash(self) -> str:
        """SHA-256 of what the critic reads of this principle; a new id or weight keeps its judgements."""
        if self.kind == "check":
            return files.content_hash("check", self.ask, self.unless)
        return files.content_hash(self.prefer, self.paraphrases, self.unless)

    @model_validator(mode="after")
    def _checks_have_a_question(self) -> Principle:
        if self.kind == "check" and (self.ask is None or self.good is None):
            problem = "a principle of kind `check` has no question, or does not say which answer is good"
            raise ValueError(problem, "add `ask: Does the response ...?` and `good: yes` or `good: no`")
        if self.kind == "compare" and (self.ask is not None or self.good is not None):
            raise ValueError(
                "`ask` and `good` belong to principles of kind `check`", "add `kind: check`, or remove them"
            )
        return self


class Constitution(Record):
    """A constitution file. What `load` returns is resolved: `extends` is empty, and every principle's axis exists."""

    name: Slug = Field(description="what the constitution is called")
    version: Text = Field(default="0.1.0", description="any text; a number needs quotes")
    language: Literal["en", "zh"] = Field(default="en", description="of the prompt templates that the critic reads")
    summary: Text | None = Field(default=None, description="one sentence for people")
    extends: list[Text] = Field(
        default_factory=list,
        max_length=MAX_FILES,
        description="other constitutions: shipped names, or paths relative to this file",
    )
    axes: dict[Slug, Axis] = Field(default_factory=dict, max_length=MAX_AXES, description="what principles speak for")
    principles: list[Principle] = Field(
        default_factory=list, max_length=MAX_PRINCIPLES, description="with those of `extends`, at least one"
    )


def content_hash(constitution: Constitution) -> str:
    """SHA-256 of what judgements and labels depend on: language, axes, and the principles but for revision and tests.

    The order of keys, the layout of the file, comments and where a principle was inherited from play no part; the
    order of the principles does.
    """
    principles = [
        [p.id, p.axis, p.weight, p.veto, p.content_hash, *([p.good, p.category] if p.kind == "check" else [])]
        for p in constitution.principles
    ]
    axes = {name: axis.model_dump() for name, axis in constitution.axes.items()}
    return files.content_hash(constitution.language, axes, principles)


def revision_hash(constitution: Constitution) -> str:
    """SHA-256 of what critique and revision depend on: language, and the weight and requests of each principle."""
    requests = [[p.id, p.weight, p.critique, p.revise] for p in constitution.principles if p.critique and p.revise]
    return files.content_hash(constitution.language, requests)


class Place(NamedTuple):
    """Where an axis or a principle stands: the file, and its dotted field there."""

    document: strict_yaml.Document
    field: str

    def __str__(self) -> str:
        return f"{self.document.file}:{self.document.mark(self.field).line}"

    def error(self, problem: str, *, fix: str, key: str = "") -> InputError:
        """An error at this place, or at one of its keys."""
        return self.document.error(problem, fix=fix, field=f"{self.field}.{key}" if key else self.field)


class Fault(NamedTuple):
    """A structural fault and its short code, such as `unknown-axis`."""

    code: str
    error: InputError


class Reading(NamedTuple):
    """What was found in a constitution file: the constitution if it has no fault, and where its parts stand."""

    constitution: Constitution | None
    axes: dict[str, Place]
    principles: dict[str, Place]
    faults: list[Fault]


def load(reference: str | Path) -> Constitution:
    """Load and resolve a constitution.

    Args:
        reference: the name of a shipped constitution, such as `harmless`, or a path: anything that ends in `.yaml` or
            `.yml` or holds a separator.

    Raises:
        InputError: the first structural fault, with the number of those that follow.
    """
    reading = read(reference)
    if reading.constitution is None:
        raise strict_yaml.first_of([fault.error for fault in reading.faults])
    return reading.constitution


def read(reference: str | Path) -> Reading:
    """Like `load`, but with every fault that could be found instead of an error."""
    merge = _Merge()
    try:
        own = merge.add(locate(reference), ())
    except InputError as error:
        return Reading(None, {}, {}, [Fault("not-found", error)])
    resolved = None
    if own is not None and not merge.faults:
        resolved = own.model_copy(update={"extends": [], "axes": merge.axes, "principles": merge.principles})
    return Reading(resolved, merge.axis_places, merge.principle_places, merge.faults)


def is_path(reference: str) -> bool:
    """Whether a reference to a constitution is a path, not a shipped name."""
    return reference.endswith((".yaml", ".yml")) or "/" in reference or os.sep in reference


def locate(reference: str | Path) -> Path:
    """The file that a path or a shipped name means.

    Raises:
        InputError: there is no shipped constitution of that name.
    """
    if isinstance(reference, Path) or is_path(reference):
        return Path(reference)
    names = {path.stem: path for path in sorted(shipped.folder("constitutions").glob("*.yaml"))}
    if reference in names:
        return names[reference]
    near = [f"{reference}.yaml"] if Path(f"{reference}.yaml").is_file() else get_close_matches(reference, names, n=1)
    fix = f"did you mean {near[0]!r}? " if near else ""
    fix += f"use one of {', '.join(names)}, or the path of a file that ends in .yaml"
    raise InputError(f"there is no shipped constitution {reference[:80]!r}", fix=fix)


class _Merge:
    """The files of one `extends` tree, each counted once, extended files before those that extend them."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.axes: dict[str, Axis] = {}
        self.axis_places: dict[str, Place] = {}
        self.principles: list[Principle] = []
        self.principle_places: dict[str, Place] = {}
        self.files: dict[str, Constitution | None] = {}

    def add(self, path: Path, chain: tuple[str, ...]) -> Constitution | None:
        """Add a file and all that it extends; `chain` is the files that led to it. None if it could not be read."""
        try:
            document = strict_yaml.load(path)
        except InputError as error:
            self.faults.append(Fault("yaml", error))
            return None
        own, errors = strict_yaml.check(document, Constitution)
        if own is None:
            self.faults += [Fault("schema", error) for error in errors]
            return None
        inherited = [
            self.inherit(own, entry, Place(document, f"extends[{index}]"), (*chain, os.path.realpath(path)))
            for index, entry in enumerate(own.extends)
        ]
        self.add_axes(own, document)
        self.add_principles(own, document, axes_known=all(inherited))
        if not chain and not self.faults:
            self.check_count(document)
        return own

    def inherit(self, own: Constitution, entry: str, place: Place, chain: tuple[str, ...]) -> bool:
        """Add one entry of `extends`; False if it could not be read."""
        try:
            path = _extended(entry, place)
        except InputError as error:
            self.faults.append(Fault("extends", error))
            return False
        file = os.path.realpath(path)
        if file in chain:
            problem = f"{entry!r} extends itself, directly or in a circle"
            self.faults.append(Fault("extends", place.error(problem, fix="remove this entry of `extends`")))
            return False
        if len(chain) > MAX_EXTENDS_DEPTH:
            problem = f"`extends` is nested more than {MAX_EXTENDS_DEPTH} deep"
            self.faults.append(Fault("extends", place.error(problem, fix="extend the last file directly")))
            return False
        if file not in self.files:
            if len(self.files) >= MAX_FILES:
                problem = f"with this one the constitution consists of more than {MAX_FILES} files"
                self.faults.append(Fault("extends", place.error(problem, fix="merge some of them")))
                return False
            self.files[file] = self.add(path, chain)
        base = self.files[file]
        if base is not None and base.language != own.language:
            problem = f"the extended file is in {base.language!r} and this one in {own.language!r}"
            self.faults.append(Fault("language", place.error(problem, fix="extend a file of the same language")))
        return base is not None

    def add_axes(self, own: Constitution, document: strict_yaml.Document) -> None:
        for name, axis in own.axes.items():
            place = Place(document, f"axes.{name}")
            if name in self.axes and self.axes[name] != axis:
                problem = f"the axis {name!r} is defined otherwise in {self.axis_places[name]}"
                fix = "remove this definition, or make the two the same"
                self.faults.append(Fault("axis-conflict", place.error(problem, fix=fix)))
            self.axes.setdefault(name, axis)
            self.axis_places.setdefault(name, place)

    def add_principles(self, own: Constitution, document: strict_yaml.Document, *, axes_known: bool) -> None:
        """Add a file's own principles. Their axes are checked if all of the axes that they may name are known."""
        for index, principle in enumerate(own.principles):
            place = Place(document, f"principles[{index}]")
            if principle.id in self.principle_places:
                problem = f"the principle id {principle.id!r} is already used in {self.principle_places[principle.id]}"
                error = place.error(problem, fix="give this principle another id, or remove one of the two", key="id")
                self.faults.append(Fault("duplicate-id", error))
            if axes_known and principle.axis not in self.axes:
                known = ", ".join(self.axes) or "none so far"
                fix = f"define it under `axes`, or use one of those there ({known})"
                error = place.error(f"the axis {principle.axis!r} is not defined", fix=fix, key="axis")
                self.faults.append(Fault("unknown-axis", error))
            self.principle_places.setdefault(principle.id, place)
            self.principles.append(principle)

    def check_count(self, document: strict_yaml.Document) -> None:
        count = len(self.principles)
        if count == 0:
            error = document.error("there are no principles", fix="write at least one principle", field="principles")
            self.faults.append(Fault("no-principles", error))
        if count > MAX_PRINCIPLES:
            problem = f"with those of the extended files there are {count} principles, more than {MAX_PRINCIPLES}"
            error = document.error(problem, fix="merge or remove some", field="principles")
            self.faults.append(Fault("too-many-principles", error))


def _extended(entry: str, place: Place) -> Path:
    """The file that an entry of `extends` means: a shipped name, or a path relative to the file that holds it."""
    if not is_path(entry):
        try:
            return locate(entry)
        except InputError as error:
            raise place.error(error.problem, fix=error.fix) from None
    if "://" in entry or os.path.isabs(entry) or not entry.endswith((".yaml", ".yml")):
        fix = "give the path of a .yaml file, relative to this file"
        raise place.error(f"{entry[:80]!r} is not a relative path to a YAML file", fix=fix)
    path = Path(os.path.normpath(Path(place.document.file or "").parent / entry))
    if not os.path.isfile(path):
        fix = "correct the path; it is relative to this file"
        raise place.error(f"there is no file {str(path)!r}", fix=fix)
    return path
