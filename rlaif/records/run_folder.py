"""The run folder: who holds it, which stages are finished, and whether what they left is still what they wrote."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pydantic import Field, ValidationError

from rlaif import __version__
from rlaif.records.base import Record
from rlaif.records.errors import InputError
from rlaif.records.files import TEMPORARY, canonical_json, content_hash, file_digest, write_text
from rlaif.records.header import SCHEMA_VERSION

MANIFEST = "manifest.json"
SIGNS = {"run": MANIFEST, "label": "labelling.json"}  # what tells a command's folder
LOGS = "logs"  # where an estimate may stand before the run
LOCK = ".lock"  # holds the name of the command that made the folder
UNFINISHED = re.compile(rf"\..+\.{TEMPORARY}[a-z0-9_]{{8}}(\.old)?")


def started_in(folder: Path) -> Path:
    """The folder that a run was started in, from where the paths in its records lead: two above runs/NAME."""
    return Path(os.path.normpath(folder / os.pardir / os.pardir))


def located(reference: str, base: Path) -> str:
    """A path in a record as it leads from here: from `base` where there is something, else from the current folder."""
    beside = base / reference
    return str(beside) if beside.exists() else reference


def _check_ours(path: Path, made_by: str) -> None:
    """Refuse a folder that is not empty and was not made by this command."""
    lock = path / LOCK
    before = lock.read_text(encoding="utf-8", errors="replace") if lock.is_file() else None
    if before and before != made_by:
        raise InputError(f"this folder is one of `rlaif {before}`", file=path, fix="give another folder with --out")
    signed = made_by in SIGNS and (path / SIGNS[made_by]).is_file()  # copied without its hidden files
    full = path.is_dir() and any(not entry.name.startswith(".") and entry.name != LOGS for entry in path.iterdir())
    if before is None and full and not signed:
        raise InputError("this folder holds other things", file=path, fix="give a new or an empty folder with --out")


class StageEntry(Record):
    """A finished stage: the hash of all that shaped it, and the digest of every output."""

    key: str
    config: str  # canonical JSON of the stage's own settings, to show what changed
    outputs: dict[str, str]  # path relative to the run folder -> sha256
    version: str | None = None  # of the rlaif that ran it; None where one ran it that did not say


class Manifest(Record):
    schema_version: int = SCHEMA_VERSION
    stages: dict[str, StageEntry] = Field(default_factory=dict)
    again: str | None = None  # the stage that is being run again, or was when the run stopped

    def finished(self, names: Sequence[str]) -> list[str]:
        """Which of a run's stages, in order, are finished: those after one that runs again are of what was before."""
        order = list(names)
        if self.again in order:
            order = order[: order.index(self.again)]
        return [name for name in order if name in self.stages]

    @property
    def versions(self) -> list[str]:
        """Of the rlaif that ran the stages: one, but where a run went on under another."""
        return sorted({entry.version or "unknown" for entry in self.stages.values()})


class RunFolder:
    """An open, locked folder of one command. Two processes cannot hold one; closing or dying releases it.

    Args:
        made_by: the command. A folder of another one, or with files that rlaif did not make, is refused: nothing of
            anybody's is overwritten.
    """

    def __init__(self, path: Path, made_by: str = "run") -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise InputError("this is a file, not a run folder", file=path, fix="choose another folder")
        # A stage's folder is held by whoever holds its run.
        owner = path.absolute().parent if (path.absolute().parent / MANIFEST).is_file() else path
        try:
            if owner is path:
                _check_ours(path, made_by)
            path.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = (owner / LOCK).open("a")
        except OSError as error:
            raise InputError(f"cannot write here: {error.strerror}", file=path, fix="choose another folder") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            fix = "wait for it, stop it, or give another folder with --out"
            raise InputError("another rlaif process is using this run folder", file=path, fix=fix) from None
        if owner is path:
            self._lock.truncate(0)
            self._lock.write(made_by)
            self._lock.flush()
        self._sweep()
        self.manifest = self._read_manifest()

    @property
    def manifest_path(self) -> Path:
        return self.path / MANIFEST

    def finished(self, stage: str, key: str) -> bool:
        """Whether the stage ran with exactly this key and all its outputs are still byte for byte what it wrote."""
        entry = self.manifest.stages.get(stage)
        if entry is None or entry.key != key:
            return False
        return all((self.path / name).exists() and self.digest(name) == d for name, d in entry.outputs.items())

    def digest(self, name: str) -> str:
        """SHA-256 of an output, named relative to the run folder."""
        return file_digest(self.path / name)

    def finish(self, stage: str, key: str, config: str, outputs: list[str]) -> None:
        """Record a stage as finished; from here on it is a no-op until something that shaped it changes."""
        digests = {name: self.digest(name) for name in outputs}
        entry = StageEntry(key=key, config=config, outputs=digests, version=__version__)
        self._write(Manifest(stages={**self.manifest.stages, stage: entry}))

    def again(self, stage: str | None) -> None:
        """Record that a finished stage runs again, or (None) that none does after all. Its entry stays: the settings of
        before may come back before anything is written."""
        if self.manifest.again != stage:
            self._write(self.manifest.model_copy(update={"again": stage}))

    def _write(self, manifest: Manifest) -> None:
        self.manifest = manifest
        write_text(self.manifest_path, json.dumps(manifest.model_dump(), indent=2, sort_keys=True) + "\n")

    def stage_key(self, config: object, parents: dict[str, str]) -> str:
        """The hash of a stage's settings and its parents' digests."""
        return content_hash(canonical_json(config), parents)

    def close(self) -> None:
        self._lock.close()

    def _sweep(self) -> None:
        """Remove what a killed process was still writing under a temporary name (see `files.atomic_path`)."""
        for path in sorted(self.path.rglob(".*")):
            if UNFINISHED.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _read_manifest(self) -> Manifest:
        if not self.manifest_path.exists():
            return Manifest()
        try:
            return Manifest.model_validate_json(self.manifest_path.read_bytes())
        except ValidationError as error:
            fix = "delete it (finished stages will run again), or restore it"
            problem = f"damaged manifest: {error.errors()[0]['msg']}"
            raise InputError(problem, file=self.manifest_path, fix=fix) from None
