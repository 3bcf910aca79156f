"""Every command is on the page of all commands, and every page that is linked there exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from rlaif import cli

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")


def commands(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        yield from commands(command, f"{before}{name} ") if hasattr(command, "commands") else [f"{before}{name}"]


def test_every_command_has_one_row() -> None:
    registered = sorted(commands(typer.main.get_command(cli.app)))
    rows = re.findall(r"^\| `rlaif ([a-z -]+)` \|", PAGE, re.MULTILINE)
    assert len(registered) > 20 and "constitution lint" in registered
    assert not set(registered) - set(rows) and len(rows) == len(set(rows))


def test_every_exit_code_of_the_command_line_is_there() -> None:
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == ["0", "1", "2", "3", "130"]


def test_every_linked_page_exists() -> None:
    assert not [name for name in re.findall(r"\]\(([a-z-]+\.md)\)", PAGE) if not (ROOT / "docs" / name).is_file()]
