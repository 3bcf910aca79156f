"""`rlaif replay`: whether what lies in a folder is still what its card says, hash by hash."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rlaif.commands.card import write
from rlaif.commands.card.source import CONFIG
from rlaif.ports.reporter import Reporter
from rlaif.records import constitution as constitutions
from rlaif.records.card import FILE, FOLDER, Card
from rlaif.records.errors import InputError
from rlaif.records.files import file_digest, read_json
from rlaif.records.run_folder import RunFolder, located, started_in
from rlaif.stages import label

NOT_THERE = "missing"


class Difference(NamedTuple):
    """Something that is not what the card says. `found` is a hash, or why there is none."""

    what: str
    expected: str
    found: str


class Replay(NamedTuple):
    """What was compared. `unchecked` are things whose hash the card does not know; `again` runs everything again."""

    checked: int
    differences: list[Difference]
    unchecked: list[str]
    notes: list[str]
    again: str | None

    @property
    def holds(self) -> bool:
        return not self.differences


def replay(path: Path, folder: Path | None, reporter: Reporter, *, rerun: bool = False) -> Replay:
    """Compute every hash of a card again.

    Args:
        path: card.json, or the folder that it is of.
        folder: where the artifacts are, if not where the card was written.
        rerun: compute the labels again from the stored judgements too.

    Raises:
        InputError: there is no card, or it is damaged.
    """
    file = path / FOLDER / FILE if path.is_dir() and not (path / FILE).is_file() else path
    file = file / FILE if file.is_dir() else file
    if not file.is_file():
        raise InputError("there is no card here", file=file, fix="write one: rlaif card RUN")
    card = read_json(file, Card)
    place = folder or (file.parent.parent if file.parent.name == FOLDER else file.parent)
    base = started_in(place) if card.kind == "run" else Path()
    named, unchecked = _named(card, base, reporter)
    compared = [*_artifacts(card, place, reporter), *_constitution(card, base), *named]
    differences = [one for one in compared if one.expected != one.found]
    differences += [Difference(name, "no such file", "a file") for name in _more(card, place)]
    if rerun:
        folders = [place / "label", *sorted(place.glob("round-*/label"))] if card.kind == "run" else [place]
        differences += [one for own in folders for one in _labels_again(own)]
    notes = []
    here = write.code()
    if here != card.code:
        notes.append(f"this rlaif is not the one that wrote the card: {here.version} here, {card.code.version} there")
    if card.kind == "run" and card.ran != [here.version]:
        ran = ", ".join(card.ran) or "unknown"
        notes.append(f"this rlaif is not the one that ran the stages: {here.version} here, {ran} there")
    versions = write.libraries()
    changed = [
        f"{k} {versions.get(k, 'none')} here, {v} there" for k, v in card.libraries.items() if versions.get(k) != v
    ]
    notes += [f"library {text}" for text in changed]
    again = None
    if card.kind == "run" and (place / CONFIG).is_file():
        again = shlex.join(["rlaif", "run", str(place / CONFIG), "--out", f"{place}-again"])
    return Replay(len(compared), differences, unchecked, notes, again)


def describe(found: Replay) -> str:
    """The same for a person."""
    lines = [f"{d.what}: expected {d.expected}, found {d.found}" for d in found.differences]
    lines += [f"not checked: {text}" for text in found.unchecked]
    lines += [f"note: {text}" for text in found.notes]
    wrong = len(found.differences)
    lines.append(f"{found.checked} hashes compared: " + (f"{wrong} do not match" if wrong else "all match"))
    if found.again is not None:
        lines.append(f"next: {found.again}")
    return "\n".join(lines)


def _artifacts(card: Card, place: Path, reporter: Reporter) -> Iterator[Difference]:
    for number, (name, seal) in enumerate(card.artifacts.items(), start=1):
        path = place / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"the card names a file outside of the run: {name!r}", fix="this is no card of rlaif")
        yield Difference(name, seal.sha256, file_digest(path) if path.is_file() else NOT_THERE)
        reporter.progress("hashing", number, len(card.artifacts))


def _more(card: Card, place: Path) -> list[str]:
    """Files beside a folder's own, such as in a model, that the card does not know."""
    folders = {str(Path(name).parent) for name in card.artifacts if Path(name).parent.name in ("model", "dataset")}
    there = (file.relative_to(place).as_posix() for own in sorted(folders) for file in write.files_of(place / own))
    return [name for name in there if (place / name).is_file() and name not in card.artifacts]


def _constitution(card: Card, base: Path) -> Iterator[Difference]:
    sealed = card.constitution
    if sealed is None or not sealed.reference:
        return
    path = located(sealed.reference, base) if constitutions.is_path(sealed.reference) else sealed.reference
    try:
        now = write.seal_constitution(sealed.reference, constitutions.load(path))
        found = (now.judging, now.revising)
    except InputError as error:
        found = (error.problem, error.problem)
    for purpose, expected, own in zip(("judging", "revising"), (sealed.judging, sealed.revising), found, strict=True):
        yield Difference(f"constitution {sealed.reference}, for {purpose}", expected, own)


def _named(card: Card, base: Path, reporter: Reporter) -> tuple[list[Difference], list[str]]:
    """Models, prompt files and templates that lie outside of the run; and those that have no hash."""
    found, unchecked = [], []
    for role, model in card.models.items():
        if model.digest is None:
            unchecked.append(f"{role} {model.name}: the name is all that is known of it")
        else:
            now = write.sealed(model.name, base, reporter).digest or NOT_THERE
            found.append(Difference(f"{role} {model.name}", model.digest, now))
    for name, digest in card.prompts.items():
        if digest is None:
            unchecked.append(
                f"prompts {name}: no file was there when the card was written, as of a data set of the Hub"
            )
        else:
            found.append(Difference(f"prompts {name}", digest, write.prompts_digest(name, base) or NOT_THERE))
    for name, digest in card.templates.items():
        found.append(Difference(f"prompt templates {name}", digest, write.templates_digest(name)))
    return found, unchecked


def _labels_again(folder: Path) -> list[Difference]:
    """Labels and data set computed again, from a copy of the judgements: they must be the same bytes, but for the
    labels' header, which says what they were computed from.

    Raises:
        InputError: the judgements or labels are missing or damaged.
    """
    with tempfile.TemporaryDirectory(prefix="rlaif-replay-") as temporary:
        copy = Path(temporary) / "label"
        copy.mkdir()
        for name in ("labelling.json", "judgements.jsonl", "labels.jsonl", "canaries.jsonl", "summary.json"):
            if (folder / name).is_file():
                shutil.copy(folder / name, copy / name)
        out = Path(temporary) / "again"
        held = RunFolder(out, "label")
        try:
            label.relabel(copy, out, None, None)
        finally:
            held.close()
        pairs = [
            (f"labels in {folder}, computed again", _rows(folder / "labels.jsonl"), _rows(out / "labels.jsonl")),
            (f"data set in {folder}, computed again", _digest(folder / "dataset"), _digest(out / "dataset")),
        ]
    return [Difference(what, was, now) for what, was, now in pairs if was != now]


def _rows(path: Path) -> str:
    """SHA-256 of a file without its first line."""
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as lines:
        next(lines, None)
        for line in lines:
            digest.update(line)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_dir() else NOT_THERE
