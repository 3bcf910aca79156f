"""Training metrics: one JSON object a line, `step` and named numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rlaif.records.errors import InputError


class Row(NamedTuple):
    """What was measured at one optimiser step or update."""

    step: int
    values: dict[str, float]


def read(path: Path) -> list[Row]:
    """The rows of a finished metrics file; see `iterate`."""
    return list(iterate(path))


def iterate(path: Path) -> Iterator[Row]:
    """The rows of a metrics file, one at a time.

    Raises:
        InputError: the file is missing, or a line is not such an object.
    """
    if not path.is_file():
        raise InputError("this artifact is missing", file=path, fix="run the stage that writes it")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            data = json.loads(line)
            row = Row(int(data.pop("step")), {name: float(value) for name, value in data.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            fix = "delete the stage's folder and run the same command again"
            raise InputError(f"damaged line: {error}", file=path, line=number, fix=fix) from None
        yield row
