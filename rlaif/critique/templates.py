"""Renders the prompt templates under `prompts/` into chat messages.

Templates are the project's own jinja2 files, in a sandbox with undefined names forbidden. What is substituted into
them (conversations, responses, principles) is plain text and is never itself treated as a template.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any, NamedTuple

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rlaif.records import shipped
from rlaif.records.errors import InputError
from rlaif.records.prompt import Message

FENCE_CHARACTERS = 8


class Template(NamedTuple):
    """A compiled template and the hash of its source, which is part of every judgement's identity."""

    name: str
    digest: str
    compiled: jinja2.Template


@lru_cache(maxsize=1)
def _environment() -> tuple[ImmutableSandboxedEnvironment, jinja2.BaseLoader]:
    loader = jinja2.FileSystemLoader(shipped.folder("prompts"))
    return ImmutableSandboxedEnvironment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=False), loader


@lru_cache(maxsize=64)
def load(name: str, language: str) -> Template:
    """Load `prompts/<name>.<language>.jinja`, for example `load("critic/pairwise", "en")`.

    Raises:
        InputError: there is no template of that name in that language.
    """
    environment, loader = _environment()
    file = f"{name}.{language}.jinja"
    try:
        source = loader.get_source(environment, file)[0]
    except jinja2.TemplateNotFound:
        known = ", ".join(sorted(environment.list_templates(filter_func=lambda t: t.endswith(".jinja"))))
        raise InputError(f"there is no prompt template {file!r}", fix=f"use one of: {known}") from None
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    return Template(name=file, digest=digest, compiled=environment.get_template(file))


def render(template: Template, **values: Any) -> list[Message]:
    """The template's `system` and `user` blocks as two chat messages."""
    context = template.compiled.new_context(values)
    return [Message(role=role, content="".join(template.compiled.blocks[role](context))) for role in ("system", "user")]


def block(template: Template, name: str, **values: Any) -> str:
    """The text of another block of the template."""
    return "".join(template.compiled.blocks[name](template.compiled.new_context(values)))


def fence_for(*texts: str) -> str:
    """A mark that none of `texts` contains and that their author could not foresee.

    It is derived from the texts themselves, so a rerun renders the same prompt, and an author who wants to forge it
    would have to find a text that contains a piece of its own hash.
    """
    joined = "\x1f".join(texts)
    for attempt in range(1000):
        mark = hashlib.sha256(f"{attempt}\x1f{joined}".encode("utf-8", "surrogatepass")).hexdigest()[:FENCE_CHARACTERS]
        if mark not in joined:
            return mark
    raise InputError("the texts contain every fence that was tried", fix="look at this pair: it looks like an attack")


def neutralise(text: str, control_tokens: frozenset[str]) -> str:
    """Break every control token that occurs in `text`, so that tokenisation reads it as ordinary characters.

    A message's content is data: only the chat template may write control tokens. A space after the token's first
    character is enough, and leaves the text readable.
    """
    if not control_tokens:
        return text
    pattern = re.compile("|".join(re.escape(t) for t in sorted(control_tokens, key=len, reverse=True)))
    while pattern.search(text):
        text = pattern.sub(lambda m: m.group()[0] + " " + m.group()[1:], text)
    return text
