"""Reads what a run folder holds, whatever state it is in: what is not there is None, what is damaged is named, and rows
before a damaged one count.

Everything here takes a `Readout`, which stands for a folder with `pairs/`, `label/`, `reward/` and `policy/` in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from rlaif.critique import influence
from rlaif.ports.engines import Engines
from rlaif.ports.learner import Conversation
from rlaif.records import files, metrics
from rlaif.records.audit import Audit
from rlaif.records.base import Record
from rlaif.records.errors import InputError, RunHalted
from rlaif.records.label import Label
from rlaif.records.label_table import Progress, summarise
from rlaif.records.labelling import LabelFolder
from rlaif.records.report import BeforeAfter, Credit, Curve, Influence, LabelSummary, Problem, StageState
from rlaif.records.run_folder import MANIFEST, Manifest

ROUND = re.compile(r"round-([2-9]|[1-9]\d+)")
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Readout:
    """A folder under reading, and what was wrong with it.

    Args:
        run: the run folder; problems name files relative to it.
        part: a folder within it.
    """

    def __init__(self, run: Path, part: str = "") -> None:
        self.run = run
        self.part = part
        self.problems: list[Problem] = []

    def path(self, name: str) -> Path:
        return self.run / self.part / name

    def fault(self, name: str, what: str) -> None:
        self.problems.append(Problem(file=f"{self.part}{name}", what=what))

    def record(self, name: str, kind: type[R]) -> R | None:
        """An artifact of one record; None where there is none that can be read."""
        if not self.path(name).is_file():
            return None
        try:
            return files.read_json(self.path(name), kind)
        except (InputError, OSError, ValueError) as error:
            self.fault(name, _said(error))
            return None

    def rows(self, name: str, kind: type[R], header: str) -> Iterator[R]:
        """The rows of a JSONL artifact, up to the first damaged one; of one that is being written, those so far."""
        return self._until_damage(name, lambda path: files.iterate_rows(path, kind, header))

    def metrics(self, name: str) -> Iterator[metrics.Row]:
        """The rows of a metrics file, up to the first damaged one."""
        return self._until_damage(name, metrics.iterate)

    def _until_damage(self, name: str, read: Callable[[Path], Iterator[T]]) -> Iterator[T]:
        own = name if self.path(name).is_file() else f"{name}.part"
        if not self.path(own).is_file():
            return
        count = 0
        try:
            for row in read(self.path(own)):
                count += 1
                yield row
        except (InputError, OSError, ValueError) as error:
            kept = f"; the {count:,} rows before it are shown" if count else ""
            self.fault(own, f"{_said(error)}{kept}")


def later_rounds(run: Path) -> dict[int, Readout]:
    """The rounds of a run folder after the first one, by their number."""
    numbers = sorted(
        int(found.group(1)) for path in run.iterdir() if path.is_dir() and (found := ROUND.fullmatch(path.name))
    )
    return {number: Readout(run, f"round-{number}/") for number in numbers}


def _said(error: Exception) -> str:
    """A fault without its file, which is told apart."""
    if not isinstance(error, InputError):
        return str(error)
    where = [f"line {error.line}"] if error.line is not None else []
    return ": ".join([*where, *([error.field] if error.field else []), error.problem])


class Found(NamedTuple):
    """What a folder of labels holds: the first labels, and what principles do to each other over all."""

    labels: list[Label]
    influence: Influence | None


def labels(readout: Readout, about: LabelFolder | None, audit: Audit | None, most: int) -> Found:
    """The first `most` labels; and, where it is known by what they were made, what principles do to each other."""
    kept: list[Label] = []
    cases: list[influence.Case] = []
    known = {p.id: p.axis for p in about.constitution.principles} if about is not None else {}
    for label in readout.rows("label/labels.jsonl", Label, "labels"):
        if len(kept) < most:
            kept.append(label)
        if about is not None and label.constitution is not None:
            if any(known.get(vote.principle_id) != vote.axis for vote in label.votes):
                readout.fault("label/labels.jsonl", "it has votes of principles that labelling.json does not hold")
                about = None
            else:
                cases.append(influence.case(label, about.constitution, about.config, None))
    if about is None or not cases:
        return Found(kept, None)
    together = influence.together(cases, about.constitution)
    return Found(
        kept, Influence(together=together, findings=influence.findings(audit.principles if audit else [], together))
    )


def label_summary(readout: Readout) -> LabelSummary | None:
    """The summary of finished labels, or of those that there are so far."""
    found = readout.record("label/summary.json", LabelSummary)
    if found is None and (progress := readout.record("label/progress.json", Progress)) is not None:
        return summarise(progress.tally)
    return found


def curves(readout: Readout, name: str, units: dict[str, str], terms: str | None = None) -> list[Curve]:
    """The named quantities of a metrics file, those that it has. Units: what each is measured in; `terms` that of the
    terms of a mixed reward, which follow."""
    rows = list(readout.metrics(name))
    mixed = sorted({key for row in rows for key in row.values if key.startswith("reward/")}) if terms else []
    found = []
    for quantity, unit in {**units, **dict.fromkeys(mixed, terms or "")}.items():
        points = [(row.step, row.values[quantity]) for row in rows if quantity in row.values]
        if points:
            steps, values = zip(*points, strict=True)
            found.append(Curve(name=quantity, unit=unit, steps=list(steps), values=list(values)))
    return found


def credits(readout: Readout, engines: Engines, samples: Sequence[BeforeAfter], model: str) -> list[Credit]:
    """What each token of a model's replies adds to the reward model's score; of an ensemble, of its first member."""
    asked = [row for row in samples if model in row.replies]
    folder = readout.path("reward/model")
    if not asked or not folder.is_dir():
        return []
    try:
        attribute = engines.learner("attributor", model=str(folder))
        found = attribute([Conversation(row.messages, row.replies[model]) for row in asked])
    except (InputError, RunHalted, OSError, ValueError) as error:
        readout.fault("reward/model", f"no token credit: {_said(error)}")
        return []
    return [
        Credit(
            prompt_id=row.prompt_id,
            messages=row.messages,
            model=model,
            score=own.score,
            base=own.base,
            tokens=own.tokens,
            credits=own.credits,
        )
        for row, own in zip(asked, found, strict=True)
    ]


def stages(readout: Readout, names: Sequence[str]) -> list[StageState]:
    """How far each of these stages came."""
    manifest = readout.record(MANIFEST, Manifest)
    done = {name: manifest.stages[name] for name in manifest.finished(names)} if manifest is not None else {}
    found = []
    for name in names:
        folder = readout.path(name)
        begun = folder.is_dir() and any(folder.iterdir())
        state = StageState(name=name, state="finished" if name in done else "unfinished" if begun else "missing")
        if name in done:
            state = state.model_copy(update={"version": done[name].version})
        note = _so_far(readout, name) if state.state == "unfinished" else None
        found.append(state.model_copy(update={"note": note}))
    return found


def _so_far(readout: Readout, stage: str) -> str | None:
    """How much there is of a stage that has not finished."""
    if stage.endswith("label"):
        progress = readout.record(f"{stage}/progress.json", Progress)
        return None if progress is None else f"{progress.pairs:,} pairs so far"
    steps = max((row.step for row in Readout(readout.run, readout.part).metrics(f"{stage}/metrics.jsonl")), default=0)
    return f"{steps:,} updates so far" if steps else None
