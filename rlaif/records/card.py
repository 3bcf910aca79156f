"""`card/card.json`: what a run is known to be, in facts with the artifact that each was read from, and in hashes that
`rlaif replay` computes again. The cards for people are drawn from this record alone.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlaif.records.base import Record
from rlaif.records.header import SCHEMA_VERSION

FILE = "card.json"
FOLDER = "card"


class Fact(Record):
    """One thing that is known: its name, its value as text, and where it was read."""

    name: str
    value: str
    source: str  # artifact, relative to the folder that the card is of


class Section(Record):
    """What is known of one topic, what is not, and what the authors say of it, which nobody checked."""

    id: str
    title: str
    facts: list[Fact] = Field(default_factory=list)
    unknown: list[str] = Field(default_factory=list)
    stated: str | None = None


class Seal(Record):
    """A file by its content."""

    sha256: str
    size: int = Field(ge=0)  # bytes


class Model(Record):
    """A model that took part. `digest` is that of its folder; None where the name alone is known: what an endpoint or a
    Hub name stood for on the day cannot be hashed here."""

    name: str
    digest: str | None


class ConstitutionSeal(Record):
    """The constitution by its content: what judging, and what critique and revision depend on."""

    reference: str  # shipped name or path, as the run file gives it; empty for a folder of labels
    name: str
    version: str
    judging: str
    revising: str
    principles: int = Field(ge=0)


class Code(Record):
    """The rlaif that wrote the card: its version and the SHA-256 of its Python files."""

    version: str
    digest: str


class Card(Record):
    """A run, or a folder of labels.

    artifacts: path -> content of every file that a finished stage wrote. templates: what critics and revisers were
    asked with, of this rlaif. prompts: digest of each prompt file; None for a data set of the Hub. unfinished: stages
    that are not finished, or left something else than what is there now.
    ran: versions of the rlaif that ran the stages; none of a folder of labels.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["run", "labels"]
    name: str
    simulation: bool
    license: str | None
    code: Code
    libraries: dict[str, str]
    seed: int | None
    algorithm: str | None
    constitution: ConstitutionSeal | None
    models: dict[str, Model]
    prompts: dict[str, str | None]
    templates: dict[str, str]
    artifacts: dict[str, Seal]
    unfinished: list[str]
    ran: list[str] = Field(default_factory=list)
    dataset: str | None  # front matter of the data set, YAML
    sections: dict[str, Section]
    disclosure: list[Section]
