"""The command lines that stand in the documents, as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
PAGES = [*READMES, ROOT / "examples/README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(rlaif [a-z][^`\n]*)`")
SHELL = ("sh", "console", "bash")


class Line(NamedTuple):
    """One command of a page: its words, without comment and without the brackets of what may be left out."""

    page: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return shlex.join(self.words)

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `rlaif`; nothing where it is another program's line."""
        return self.words[self.words.index("rlaif") + 1 :] if "rlaif" in self.words else ()


def lines(page: Path) -> Iterator[Line]:
    """The commands in a page's shell blocks, in their order; in `console` blocks those after a prompt."""
    for language, body in BLOCK.findall(page.read_text(encoding="utf-8")):
        # A block without a language that begins with a command is a synopsis; others show output.
        if language not in SHELL and not (language == "" and body.startswith("rlaif ")):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            if language == "console" and not line.startswith("$ "):
                continue
            for command in line.removeprefix("$ ").split(" && "):
                words = shlex.split(re.sub(r"\[(--[^]]*)\]", r"\1", command), comments=True)
                if words:
                    yield Line(str(page.relative_to(ROOT)), tuple(words))


def inline(page: Path) -> Iterator[Line]:
    """Commands within sentences: often the beginning of one, or with words that stand for others."""
    for text in INLINE.findall(page.read_text(encoding="utf-8")):
        try:
            yield Line(str(page.relative_to(ROOT)), tuple(shlex.split(re.sub(r"\[(--[^]]*)\]", r"\1", text))))
        except ValueError:
            continue  # a quotation mark that is closed elsewhere
