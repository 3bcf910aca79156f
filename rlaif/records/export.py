"""Labels as data sets of the other shapes that TRL's trainers read, all conversational.

- `preference`: `prompt`, `chosen`, `rejected`, as the labels' own data set.
- `unpaired`: `prompt`, `completion`, `label`: two rows a pair, true for the chosen one.
- `sft`: `messages`, the conversation with the chosen response.
- `prompts`: `prompt`, once each.
- `implicit`: `chosen`, `rejected` as whole conversations, without `prompt`.

Where a shape says who won without saying how surely (`unpaired`, `sft`), labels of exactly one half and abstentions are
left out: nobody won.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.records.dataset import ADDED, COLUMNS, Column, Configuration, card, is_test, row
from rlaif.records.errors import InputError
from rlaif.records.files import atomic_folder, content_hash
from rlaif.records.label import Label, Source

Row = dict[str, Any]


class Keep(NamedTuple):
    """Which labels are published. `consistent_only` leaves out those whose winner changed with the order."""

    min_margin: float = 0.0
    min_weight: float = 0.0
    consistent_only: bool = False

    def allows(self, own: Row) -> bool:
        flipped = self.consistent_only and own["order_consistent"] is False
        return own["margin"] >= self.min_margin and own["weight"] >= self.min_weight and not flipped


class Counts(NamedTuple):
    """Rows written, and labels that were not published: by the user's wish, or because they say nothing here."""

    train: int
    test: int
    left_out: int


class Shape(NamedTuple):
    """A shape's columns, and the rows that it makes of a preference row."""

    columns: dict[str, Column]
    rows: Callable[[Row], list[Row]]


def write(
    folder: Path, labels: Iterable[Label], kind: str, *, keep: Keep | None = None, axis: str | None = None
) -> Counts:
    """Write `default/train.parquet` and `test.parquet` with a card; prompts are split as in the labels' own data set.

    Labels are taken one at a time, and never held together.

    Raises:
        InputError: there is no such shape, no label is left, or the folder holds something else than such a data set.
    """
    if kind not in SHAPES:
        raise InputError(f"there is no format {kind!r}", fix=f"use one of: {', '.join(SHAPES)}", field="--format")
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - {"README.md", "default"}):
        raise InputError("this holds other things, which would be lost", file=folder, fix="name a new folder")
    shape, seen, sources, left_out = SHAPES[kind], set[str](), set[Source](), 0
    with atomic_folder(folder) as temporary:
        written = Configuration(temporary / "default", shape.columns)
        for label in labels:
            own = row(label, axis)
            found = shape.rows(own) if own is not None and (keep or Keep()).allows(own) else []
            if own is None or not found:
                left_out += 1
                continue
            sources.add(label.source)
            for new in _new(found, seen) if kind == "prompts" else found:
                written.add(new, test=is_test(own["prompt"]))
        written.close()
        if not any(written.counts.values()):
            raise InputError("no label is left to be written", fix="keep more of them, or look at summary.json")
        body = f"\nFormat `{kind}`: columns {', '.join(f'`{name}`' for name in shape.columns)}.\n"
        (temporary / "README.md").write_text(card([written], sources, body), encoding="utf-8")
    return Counts(written.counts["train"], written.counts["test"], left_out)


def _new(rows: Iterable[Row], seen: set[str]) -> Iterator[Row]:
    for own in rows:
        key = content_hash(own["prompt"])
        if key not in seen:
            seen.add(key)
            yield own


def _added(own: Row) -> Row:
    return {name: own[name] for name in ADDED}


def _undecided(own: Row) -> bool:
    return bool(own["margin"] == 0 or own["weight"] == 0)


def _unpaired(own: Row) -> list[Row]:
    both = (("chosen", True), ("rejected", False))
    rows = [{"prompt": own["prompt"], "completion": own[name], "label": label, **_added(own)} for name, label in both]
    return [] if _undecided(own) else rows


def _sft(own: Row) -> list[Row]:
    return [] if _undecided(own) else [{"messages": [*own["prompt"], *own["chosen"]], **_added(own)}]


def _implicit(own: Row) -> list[Row]:
    return [{**_added(own), **{name: [*own["prompt"], *own[name]] for name in ("chosen", "rejected")}}]


SHAPES: dict[str, Shape] = {
    "preference": Shape(COLUMNS, lambda own: [own]),
    "unpaired": Shape({"prompt": "messages", "completion": "messages", "label": "flag", **ADDED}, _unpaired),
    "sft": Shape({"messages": "messages", **ADDED}, _sft),
    "prompts": Shape({"prompt": "messages", "id": "text"}, lambda own: [{"prompt": own["prompt"], "id": own["id"]}]),
    "implicit": Shape({"chosen": "messages", "rejected": "messages", **ADDED}, _implicit),
}
