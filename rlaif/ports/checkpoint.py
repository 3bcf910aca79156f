"""Checkpoints of training: the last two, each in a folder of its own, which says itself whether it is whole.

    checkpoint/update-000040/learner.pt   what the learner wrote
                             loop.json    update, the algorithm's state, lineage, size and SHA-256 of every file

A checkpoint is written under a temporary name and renamed when it is whole, so that one under its own name is damaged
by nothing but the disk, or a hand. Older than the last good one, everything is removed before the next one is written:
no more than two take up space, and one that is good is there at every moment.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from rlaif.records.base import Record
from rlaif.records.errors import NotFinite
from rlaif.records.files import atomic_folder, atomic_path, content_hash, file_digest, write_text
from rlaif.records.settings import Lineage

MANIFEST = "loop.json"
NAME = re.compile(r"update-(\d{6,})")


class Written(Record):
    """A file as it was when it was written."""

    size: int  # bytes
    sha256: str


class Manifest(Record):
    """What a checkpoint is of, and what must be in its folder."""

    update: int = Field(ge=1)
    algorithm: str
    state: dict[str, float]
    config_hash: str
    parents: dict[str, str]
    files: dict[str, Written]
    seal: str = ""  # hash of all of the above: a manifest that was changed does not count

    def sealed(self) -> Manifest:
        return self.model_copy(update={"seal": content_hash(self.model_dump(exclude={"seal"}))})


class Resumed(NamedTuple):
    """Where training goes on: after `update`, with the algorithm's state, from what the learner wrote to `folder`.
    From the beginning: update 0, and no folder."""

    update: int
    state: dict[str, float]
    folder: Path | None
    note: str  # for a person; "" where there was nothing to go on from


class Damaged(Exception):
    """Why a checkpoint cannot be used."""


class Checkpoints:
    """The checkpoints of one training. Only the main process may save; `latest` reads and changes nothing on disk.

    Args:
        folder: holds them, and nothing else.
        algorithm, lineage: what a checkpoint must be of.
        beside: files that grow while training goes on. Each checkpoint holds a copy of those that are there, because an
            attempt under other settings writes over them.
    """

    def __init__(self, folder: Path, algorithm: str, lineage: Lineage, beside: Sequence[Path] = ()) -> None:
        self._beside = beside
        self.algorithm = algorithm
        self.lineage = lineage
        self._folder = folder
        self.good: int | None = None  # update of the newest checkpoint that is known to be whole

    def latest(self, start: Mapping[str, float]) -> Resumed:
        """The newest checkpoint that is whole and of exactly this training; the note names each that is newer and why
        it is not used.

        Args:
            start: the algorithm's state before the first update.
        """
        self.good = None
        problems = []
        for update, folder in self._standing():
            try:
                manifest = self._verified(update, folder, set(start))
            except Damaged as damage:
                problems.append(f"the checkpoint of update {update} {damage}")
                continue
            self.good = update
            note = "; ".join([*problems, f"going on from the checkpoint of update {update}"])
            return Resumed(update, dict(manifest.state), folder, note)
        note = "; ".join([*problems, "training begins anew"]) if problems else ""
        return Resumed(0, dict(start), None, note)

    def put_back(self, resumed: Resumed) -> None:
        """The files beside the checkpoint as they were when it was written. For the main process."""
        for path in self._beside:
            if resumed.folder is not None and (resumed.folder / path.name).is_file():
                with atomic_path(path) as temporary:
                    shutil.copyfile(resumed.folder / path.name, temporary)

    def save(self, update: int, state: Mapping[str, float], write: Callable[[Path], None]) -> None:
        """Write the checkpoint of an update; `write` puts the learner's state into the folder that it is given.

        Raises:
            NotFinite: a number of `state` is NaN or infinite; nothing is written. What `write` raises.
        """
        for name, value in state.items():
            if not math.isfinite(value):
                raise NotFinite(f"the algorithm's {name} is {value} after update {update}", name)
        self._remove_all_but_the_good_one()
        with atomic_folder(self._folder / f"update-{update:06d}") as temporary:
            write(temporary)
            for path in filter(Path.is_file, self._beside):
                shutil.copyfile(path, temporary / path.name)
            files = {
                file.relative_to(temporary).as_posix(): Written(size=file.stat().st_size, sha256=file_digest(file))
                for file in sorted(temporary.rglob("*"))
                if file.is_file()
            }
            manifest = Manifest(
                update=update,
                algorithm=self.algorithm,
                state=dict(state),
                config_hash=self.lineage.config_hash,
                parents=self.lineage.parents,
                files=files,
            )
            text = json.dumps(manifest.sealed().model_dump(), indent=2, sort_keys=True)
            write_text(temporary / MANIFEST, text + "\n")
        self.good = update

    def _standing(self) -> Iterator[tuple[int, Path]]:
        """All checkpoints by name, the newest first."""
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        found = [(int(match[1]), self._folder / match[0]) for match in map(NAME.fullmatch, names) if match]
        yield from sorted(found, reverse=True)

    def _verified(self, update: int, folder: Path, state: set[str]) -> Manifest:
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except OSError:
            raise Damaged(f"is damaged ({MANIFEST} is missing)") from None
        except ValidationError:
            raise Damaged(f"is damaged ({MANIFEST} cannot be read)") from None
        if manifest.update != update or manifest != manifest.sealed():
            raise Damaged(f"is damaged ({MANIFEST} is not what was written)")
        if manifest.algorithm != self.algorithm:
            raise Damaged(f"is of {manifest.algorithm}, not {self.algorithm}")
        if (manifest.config_hash, manifest.parents) != (self.lineage.config_hash, self.lineage.parents):
            raise Damaged("is of other settings or inputs")
        if set(manifest.state) != state:
            raise Damaged("is of another version of the algorithm")
        for name, written in manifest.files.items():
            _check_file(folder / name, name, written)
        return manifest

    def _remove_all_but_the_good_one(self) -> None:
        kept = None if self.good is None else f"update-{self.good:06d}"
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name != kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check_file(file: Path, name: str, written: Written) -> None:
    if not file.is_file():
        raise Damaged(f"is damaged ({name} is missing)")
    size = file.stat().st_size
    if size != written.size:
        raise Damaged(f"is damaged ({name} is {size:,} bytes, not {written.size:,})")
    if file_digest(file) != written.sha256:
        raise Damaged(f"is damaged ({name} is not what was written)")
