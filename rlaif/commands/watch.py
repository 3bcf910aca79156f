"""`rlaif watch`: a run in progress, read from its artifacts alone. Looking changes nothing in the folder.

What is read may be half-written: a torn last line is left out, a torn manifest is said.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rlaif.commands.stage_names import stage_names
from rlaif.ports.reporter import clock
from rlaif.records.card import FOLDER as CARDS
from rlaif.records.errors import InputError
from rlaif.records.run_folder import LOCK, MANIFEST

CONFIG = "config.resolved.yaml"
PICO = 10**12  # of a dollar, in the ledger
WINDOW = 120.0  # seconds over which the rate is measured while one watches
SHOWN = ("score", "kl", "cost", "multiplier", "tokens", "canary_gap", "loss", "heldout_loss", "accuracy")
NAMES = {"score": "reward", "kl": "KL", "tokens": "length", "canary_gap": "canary"}
BARS = "▁▂▃▄▅▆▇█"
TRACED = ("score", "loss")  # the first of them that there is, is drawn


class Rate(NamedTuple):
    """Steps a second, and since when it was measured."""

    value: float
    left: float | None  # seconds, to the last step


class Picture(NamedTuple):
    """A run at one moment. `running` is the process that holds the folder, None where none does or nobody can tell;
    `age` is seconds since anything in the folder was written."""

    name: str
    stages: list[str]
    finished: list[str]
    running: int | None
    age: float
    stage: str | None
    step: int
    total: int | None
    rate: Rate | None
    figures: dict[str, float]
    trace: list[float]
    counts: dict[str, int]
    audit: str | None
    spent: dict[str, float]
    faults: list[str]

    @property
    def done(self) -> bool:
        return self.stage is None


class Watcher:
    """Looks at one folder, again and again; remembers how fast it went.

    Raises:
        InputError: it is no run folder.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / CONFIG).is_file():
            fix = "name a folder that `rlaif run` wrote, such as runs/NAME"
            problem = "this is no run folder" if folder.is_dir() else "there is no such folder"
            raise InputError(problem, file=folder, fix=fix)
        self.folder = folder
        self._seen: deque[tuple[float, str, int]] = deque()

    def look(self) -> Picture:
        """The run as it is now."""
        faults: list[str] = []
        config = _config(self.folder / CONFIG, faults)
        stages, manifest = stage_names(config), _json(self.folder / MANIFEST, faults)
        until = stages.index(manifest["again"]) if manifest.get("again") in stages else len(stages)
        finished = [name for name in stages[:until] if name in manifest.get("stages", {})]
        stage = next((name for name in stages if name not in finished), None)
        policies = [name for name in stages if _is_policy(name) and (self.folder / name).is_dir()]
        policy = policies[-1] if policies else "policy"
        rows = _rows(self.folder / (stage or policy) / "metrics.jsonl")
        step = int(rows[-1].get("step", 0)) if rows else 0
        total = _total(config, stage)
        running = holder(self.folder / LOCK)
        traced = next((name for name in TRACED if rows and name in rows[-1]), None)
        return Picture(
            name=str(config.get("name", self.folder.name)),
            stages=stages,
            finished=finished,
            running=running,
            age=max(0.0, time.time() - last_sign(self.folder)),
            stage=stage,
            step=step,
            total=total,
            rate=self._rate(stage, step, total) if running is not None and stage is not None else None,
            figures={name: rows[-1][name] for name in SHOWN if rows and name in rows[-1]},
            trace=[row[traced] for row in rows if traced in row] if traced else [],
            counts=_counts(self.folder, stage),
            audit=_audit(self.folder / policy / "audits.jsonl"),
            spent=_spent(self.folder / "spend.sqlite"),
            faults=faults,
        )

    def _rate(self, stage: str | None, step: int, total: int | None) -> Rate | None:
        """Over the last minutes of watching; at first, over this attempt at the stage so far."""
        now = time.time()
        self._seen.append((now, stage or "", step))
        while self._seen[0][1] != stage or (len(self._seen) > 2 and now - self._seen[0][0] > WINDOW):
            self._seen.popleft()
        since, before = self._seen[0][0], self._seen[0][2]
        if step == before:
            since, before = self._attempt(stage or "")
            now = _time(self.folder / (stage or "") / "metrics.jsonl")
        if step <= before or now <= since:
            return None
        value = (step - before) / (now - since)
        return Rate(value, (total - step) / value if total is not None and total >= step else None)

    def _attempt(self, stage: str) -> tuple[float, int]:
        """When this attempt at the stage began, and after which step: the stage before it ended then, or the process
        took the folder, and went on from the last checkpoint before."""
        began = max(_time(self.folder / MANIFEST), _time(self.folder / LOCK))
        older = [
            path.name.rpartition("-")[2]
            for path in (self.folder / stage / "checkpoint").glob("update-*")
            if _time(path) < _time(self.folder / LOCK)
        ]
        return began, max((int(text) for text in older if text.isdecimal()), default=0)


def lines(picture: Picture, width: int) -> list[str]:
    """The picture as text in lines of about `width`; names in it are those of files, and may hold anything."""
    first, *more = _state(picture)
    marks = {True: "done", False: "-"}
    done = [f"{name} {'...' if name == picture.stage else marks[name in picture.finished]}" for name in picture.stages]
    found = [*_wrapped([f"{picture.name}: {first}", *more], width), *_wrapped(done, width)]
    if picture.stage is not None:
        of = f"/{picture.total}" if picture.total else ""
        line = f"{picture.stage}: {picture.step}{of}" if picture.step else picture.stage
        if picture.rate is not None:
            pace = f"{picture.rate.value:.1f}/s" if picture.rate.value >= 1 else f"{60 * picture.rate.value:.1f}/min"
            line += f"  {pace}" + (f"  {clock(picture.rate.left)} left" if picture.rate.left is not None else "")
        found += ["", line]
    values = [f"{NAMES.get(name, name)} {value:.3g}" for name, value in picture.figures.items()]
    values += [f"{name} {count:,}" for name, count in picture.counts.items()]
    found += [f"  {line}" for line in _wrapped(values, width - 2)]
    if len(picture.trace) > 1:
        found.append(f"  {trace(picture.trace, max(8, min(60, width - 2)))}")
    if picture.audit is not None:
        found.append(f"  {picture.audit}")
    if picture.spent:
        found += ["", *_wrapped([_amount(name, value) for name, value in picture.spent.items()], width)]
    found += [f"cannot be read: {fault}" for fault in picture.faults]
    return found


def trace(values: Sequence[float], width: int) -> str:
    """Values as a row of bars, from the lowest to the highest; means where there are more than fit."""
    size = -(-len(values) // width)
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    low, high = min(means), max(means)
    if not high > low:
        return BARS[0] * len(means)
    return "".join(BARS[min(len(BARS) - 1, int((mean - low) / (high - low) * len(BARS)))] for mean in means)


def holder(lock: Path) -> int | None:
    """The process that holds the run folder, from the system's table of locks, so that looking takes none."""
    try:
        inode = lock.stat().st_ino
        table = Path("/proc/locks").read_text(encoding="utf-8")
    except OSError:
        return None
    for line in table.splitlines():
        words = line.split()
        if len(words) > 5 and words[1] in ("FLOCK", "POSIX") and words[5].rpartition(":")[2] == str(inode):
            return int(words[4])
    return None


def last_sign(folder: Path) -> float:
    """When anything of the run was last written, but for its cards: seconds since the epoch."""
    newest = 0.0
    for place, folders, names in os.walk(folder):  # says nothing where a folder goes while it is read
        if Path(place) == folder and CARDS in folders:
            folders.remove(CARDS)
        newest = max([newest, *(_time(Path(place) / name) for name in names)])
    return newest


def _state(picture: Picture) -> list[str]:
    ago = f"last sign of life {clock(picture.age)} ago"
    if picture.running is not None:
        return [f"process {picture.running} is at it", ago]
    if picture.done:
        return ["finished"]
    return ["stopped: no process is at it", ago, "the same `rlaif run` goes on"]


def _wrapped(parts: Sequence[str], width: int) -> Iterator[str]:
    """Parts, two spaces between, as many a line as fit."""
    line = ""
    for part in parts:
        if line and len(line) + 2 + len(part) > width:
            yield line
            line = ""
        line = f"{line}  {part}" if line else part
    if line:
        yield line


def _amount(name: str, value: float) -> str:
    return f"spent ${value:,.4f}" if name == "dollars" else f"{name} {value:,.0f}"


def _is_policy(stage: str | None) -> bool:
    return stage is not None and stage.split("/")[-1] == "policy"


def _total(config: dict[str, Any], stage: str | None) -> int | None:
    section = config.get("policy")
    updates = section.get("updates") if isinstance(section, dict) and _is_policy(stage) else None
    return updates if isinstance(updates, int) else None


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _config(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        faults.append(CONFIG)
    return found if isinstance(found, dict) else {}


def _json(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        faults.append(path.name)
    return found if isinstance(found, dict) else {}


def _rows(path: Path) -> list[dict[str, float]]:
    """Whole rows of numbers; what is torn or no such row is left out."""
    try:
        written = path.read_bytes()
    except OSError:
        return []
    rows = []
    for line in written.splitlines():
        try:
            found = json.loads(line)
            rows.append({name: float(value) for name, value in found.items()})
        except (ValueError, TypeError, AttributeError):
            continue
    return rows


def _counts(folder: Path, stage: str | None) -> dict[str, int]:
    """Of a stage that asks models: pairs labelled, and answers."""
    if stage is None:
        return {}
    progress = _json(folder / stage / "progress.json", [])
    tally = progress.get("tally", {})
    known = {"judgements": "judgements", "ties": "ties", "flips": "order_inconsistent"}
    found = {"pairs": progress.get("pairs"), **{name: tally.get(key) for name, key in known.items()}}
    query = "SELECT SUM(asked), SUM(failed), SUM(prompt_tokens), SUM(completion_tokens) FROM uses"
    names = ("asked", "failed", "tokens read", "tokens written")
    asked = dict(zip(names, _first(folder / stage / "answers.sqlite", query), strict=False))
    return {name: value for name, value in {**asked, **found}.items() if isinstance(value, int)}


def _audit(path: Path) -> str | None:
    """The last audit of the guard."""
    try:
        last = json.loads(path.read_bytes().splitlines()[-1])
        update, missing, win = last["update"], last["missing"], last["win_rate"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if missing is not None:
        return f"audit at update {update}: missing, {missing}"
    fired = f", fired: {', '.join(last['fired'])}" if last["fired"] else ""
    return f"audit at update {update}: critic win rate {win['value']:.2f} [{win['low']:.2f}, {win['high']:.2f}]{fired}"


def _spent(path: Path) -> dict[str, float]:
    """Dollars, requests and tokens of paid critics; nothing where none was asked."""
    found = _first(path, "SELECT cost, requests, prompt_tokens, completion_tokens FROM settled")
    if len(found) < 4 or not found[1]:
        return {}
    names = ("requests", "tokens read", "tokens written")
    return {"dollars": found[0] / PICO, **dict(zip(names, found[1:], strict=True))}


def _first(path: Path, query: str) -> tuple[Any, ...]:
    """The first row of an answer of a database that somebody may be writing; nothing where it cannot be read."""
    if not path.is_file():
        return ()
    try:
        found = sqlite3.connect(f"file:{path.resolve().as_posix()}?mode=ro", uri=True, timeout=1.0)
        try:
            return tuple(found.execute(query).fetchone() or ())
        finally:
            found.close()
    except sqlite3.Error:
        return ()
