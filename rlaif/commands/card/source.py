"""A run folder, or a folder of labels, read as far as it can be: a run that stopped half-way has a card too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rlaif.records import files, metrics, strict_yaml
from rlaif.records.base import Record
from rlaif.records.errors import InputError
from rlaif.records.labelling import LabelFolder
from rlaif.records.run_folder import MANIFEST, Manifest

R = TypeVar("R", bound=Record)
T = TypeVar("T")
CONFIG = "config.resolved.yaml"
FIX = "name a folder that `rlaif run` or `rlaif label` wrote"


class Source:
    """What a folder holds. What cannot be read is remembered in `faults`, and never guessed.

    Raises:
        InputError: it is neither a run nor a folder of labels, or its manifest or run file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, str] = {}
        if not folder.is_dir():
            raise InputError("there is no such folder", file=folder, fix=FIX)
        self.kind = "run" if (folder / MANIFEST).is_file() else "labels"
        if self.kind == "labels" and not (folder / "labelling.json").is_file():
            raise InputError("this is no folder of a run or of labels", file=folder, fix=FIX)
        self.manifest = _manifest(folder / MANIFEST) if self.kind == "run" else Manifest()
        self.config: dict[str, Any] = strict_yaml.load(folder / CONFIG).data if self.kind == "run" else {}
        self.labelling = self.record(self.at("label/labelling.json"), LabelFolder)

    def at(self, name: str) -> str:
        """Where an artifact is that a run has: of several rounds, that of the last one which has it. A folder of labels
        is what `label/` is in a run."""
        if self.kind == "labels":
            return name.removeprefix("label/")
        rounds = self.setting("rounds")
        places = [f"round-{number}/{name}" for number in range(rounds if isinstance(rounds, int) else 1, 1, -1)]
        return next((place for place in places if (self.folder / place).exists()), name)

    def setting(self, path: str) -> Any:
        """A setting of the run file by its dotted name; None where there is none."""
        value: Any = self.config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def record(self, name: str, kind: type[R]) -> R | None:
        """An artifact of one record; None where it is missing or cannot be read."""
        return self._read(name, lambda path: files.read_json(path, kind))

    def rows(self, name: str, kind: type[R], header: str) -> list[R]:
        """The rows of an artifact; none where it is missing or cannot be read."""
        return self._read(name, lambda path: files.read_rows(path, kind, header)) or []

    def metrics(self, name: str) -> list[metrics.Row]:
        """The rows of a metrics file; none where it is missing or cannot be read."""
        return self._read(name, metrics.read) or []

    def _read(self, name: str, read: Callable[[Path], T]) -> T | None:
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return read(path)
        except (InputError, ValueError, OSError) as error:
            self.faults[name] = error.problem if isinstance(error, InputError) else str(error)
            return None


def _manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fix = "restore it, or run the same command again"
        raise InputError(f"damaged manifest: {error.errors()[0]['msg']}", file=path, fix=fix) from None
