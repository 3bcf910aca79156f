"""The one writer of a folder of labels: judgements, labels, summary and data set, row by row in flat memory.

Rows go to `.part` files, whose good lengths are noted in `progress.json` every second or so. A killed run takes them up
where the note says, without reading or asking again what lies before; the finished files appear together at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from rlaif.records import dataset
from rlaif.records.base import Record
from rlaif.records.files import canonical_json, iterate_rows, naming, row_json, write_text
from rlaif.records.judgement import Judgement
from rlaif.records.label import BareLabel, Label
from rlaif.records.labelling import LabelFolder, Tally
from rlaif.records.report import LabelSummary
from rlaif.records.settings import Lineage

TIE = 0.05  # counted as a tie in summaries; labels keep their probability
NOTE_SECONDS = 1.0
REASONS = 20  # kinds of failure that the summary tells apart
FILES = ("judgements", "labels", "canaries")
OUTPUTS = ["judgements.jsonl", "labels.jsonl", "canaries.jsonl", "labelling.json", "summary.json", "dataset"]


class Progress(Record):
    """How far the part files are good. `key` hashes all that they came from."""

    key: str
    pairs: int
    sizes: dict[str, int]
    tally: Tally


class LabelTable:
    """Labels under way in a folder.

    Args:
        folder: where to write.
        key: hash of everything that the labels come from; part files of another key are discarded.
        judgements: a file of judgements that stays as it is, while labels are made from it anew.
    """

    def __init__(
        self, folder: Path, lineage: Lineage, key: str, *, resume: bool = True, judgements: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = key
        found = _progress(folder, key) if resume else None
        self.pairs = found.pairs if found else 0  # pairs that are done, in the order of the input
        self.tally = found.tally if found else Tally()
        self._noted = time.monotonic()
        self._whole = True
        self._open: dict[str, IO[str]] = {}
        self._growing = [name for name in FILES if name != "judgements" or judgements is None]
        if judgements is not None:
            shutil.copyfile(judgements, _part(folder, "judgements"))
        for name in self._growing:
            file = _part(folder, name).open("r+" if found else "w", encoding="utf-8", errors="surrogatepass")
            if found:
                file.truncate(found.sizes[name])
                file.seek(0, os.SEEK_END)
            else:
                file.write(canonical_json(lineage.header(name)) + "\n")
            self._open[name] = file

    def add(
        self,
        pairs: int,
        labels: Sequence[Label],
        canaries: Sequence[Label],
        judged: Sequence[Judgement],
        counts: Mapping[str, Any] | None = None,
    ) -> None:
        """Add what came of the next `pairs` of the input, and set those `counts` of the tally that the caller knows."""
        self._whole = False  # an interrupt in here must not be noted as done
        rows = {"judgements": judged, "labels": labels, "canaries": canaries}
        for name in self._growing:
            with naming(_part(self._folder, name)):
                self._open[name].writelines(f"{row_json(row)}\n" for row in rows[name])
        self.pairs += pairs
        self.tally = _counted(self.tally, labels, judged).model_copy(update=counts)
        self._whole = True
        if time.monotonic() - self._noted >= NOTE_SECONDS:
            self.note()

    def note(self) -> None:
        """Make sure that everything so far survives a crash."""
        sizes = {}
        for name, file in self._open.items():
            with naming(_part(self._folder, name)):
                file.flush()
                os.fsync(file.fileno())
            sizes[name] = os.fstat(file.fileno()).st_size
        progress = Progress(key=self._key, pairs=self.pairs, sizes=sizes, tally=self.tally)
        write_text(self._folder / "progress.json", progress.model_dump_json() + "\n")
        self._noted = time.monotonic()

    def close(self) -> None:
        """Stop for now; the part files stay."""
        if self._whole and any(not file.closed for file in self._open.values()):
            self.note()
        for file in self._open.values():
            file.close()

    def finish(self, about: LabelFolder, skipped_identical: int = 0) -> LabelSummary:
        """Write what is made of the whole, and give every file its name.

        `labelling.json`, which every reader of the folder begins with, goes first and comes last: a folder left in
        between has none, instead of the settings of other labels.
        """
        self.close()
        labels = iterate_rows(_part(self._folder, "labels"), BareLabel, "labels")
        dataset.write(self._folder / "dataset", labels, sorted(about.constitution.axes))
        summary = summarise(self.tally, skipped_identical)
        (self._folder / "labelling.json").unlink(missing_ok=True)
        for name in FILES:
            _part(self._folder, name).replace(self._folder / f"{name}.jsonl")
        _json(self._folder / "summary.json", summary)
        _json(self._folder / "labelling.json", about)
        (self._folder / "progress.json").unlink(missing_ok=True)
        return summary

    def discard(self) -> None:
        """Forget the part files, so that failures among them are asked again."""
        for file in self._open.values():
            file.close()
        for name in FILES:
            _part(self._folder, name).unlink(missing_ok=True)
        (self._folder / "progress.json").unlink(missing_ok=True)


def summarise(tally: Tally, skipped_identical: int = 0) -> LabelSummary:
    """Counts and rates over the labels; nothing that failed enters a mean."""
    return LabelSummary(
        count=tally.labels,
        labelled=tally.labelled,
        abstained=tally.abstained,
        judgements=tally.judgements,
        failed_judgements=tally.failed_judgements,
        failures=dict(sorted(tally.reasons.items())),
        ties=tally.ties,
        order_inconsistent=tally.order_inconsistent,
        position_bias=tally.bias_sum / tally.bias_known if tally.bias_known else None,
        flagged=tally.flagged,
        mean_confidence=tally.confidence_sum / tally.labelled if tally.labelled else None,
        skipped_identical=skipped_identical,
        escalated=tally.escalated,
        sources=dict(sorted(tally.sources.items())) if tally.sources.keys() != {"critic"} else {},
        canaries=dict(sorted(tally.canaries.items())),
    )


def describe(summary: LabelSummary) -> str:
    """The summary as a few lines for a person."""
    bias = "–" if summary.position_bias is None else f"{summary.position_bias:+.3f}"
    lines = [
        f"labels: {summary.labelled} of {summary.count} pairs, {summary.judgements} judgements "
        f"({summary.failed_judgements} failed), ties {summary.ties}, order-inconsistent {summary.order_inconsistent}, "
        f"position bias {bias}, flagged {summary.flagged}"
        + (f", abstained {summary.abstained}" if summary.abstained else "")
        + (f", escalated {summary.escalated}" if summary.escalated else "")
    ]
    if summary.sources:
        lines.append("  from: " + ", ".join(f"{source} {n}" for source, n in summary.sources.items()))
    lines += [f"  failed {count}: {reason}" for reason, count in summary.failures.items()]
    lines += [f"  canary {kind}: lost {lost} of {n}" for kind, (lost, n) in summary.canaries.items()]
    return "\n".join(lines)


def _counted(tally: Tally, labels: Sequence[Label], judged: Iterable[Judgement]) -> Tally:
    decided = [x.p for x in labels if x.p is not None]
    biases = [x.position_bias for x in labels if x.position_bias is not None]
    judgements = list(judged)
    failed = [j.reason or "" for j in judgements if j.status == "failed"]
    return tally.model_copy(
        update={
            "labels": tally.labels + len(labels),
            "labelled": tally.labelled + len(decided),
            "abstained": tally.abstained + sum(x.abstained for x in labels),
            "judgements": tally.judgements + len(judgements),
            "failed_judgements": tally.failed_judgements + len(failed),
            "ties": tally.ties + sum(abs(p - 0.5) < TIE for p in decided),
            "order_known": tally.order_known + sum(x.order_consistent is not None for x in labels),
            "order_inconsistent": tally.order_inconsistent + sum(x.order_consistent is False for x in labels),
            "bias_sum": _added(tally.bias_sum, biases),
            "bias_known": tally.bias_known + len(biases),
            "flagged": tally.flagged + sum(bool(x.flags) for x in labels),
            "confidence_sum": _added(tally.confidence_sum, [max(p, 1 - p) for p in decided]),
            "reasons": _reasons(tally.reasons, failed),
            "sources": dict(Counter(tally.sources) + Counter(x.source for x in labels)),
        }
    )


def _added(total: float, numbers: Iterable[float]) -> float:
    """One by one, so that the sum does not depend on how many come at once (nor, unlike `sum`, on Python's version)."""
    for number in numbers:
        total += number
    return total


def _reasons(known: dict[str, int], failed: Sequence[str]) -> dict[str, int]:
    counts = dict(known)
    for reason in failed:
        kind = " ".join(reason.split())[:120]
        kind = kind if kind in counts or len(counts) < REASONS else "other reasons"
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _progress(folder: Path, key: str) -> Progress | None:
    try:
        progress = Progress.model_validate_json((folder / "progress.json").read_bytes())
        fits = progress.key == key and all(_part(folder, name).stat().st_size >= progress.sizes[name] for name in FILES)
    except (OSError, ValidationError, KeyError):
        return None  # nothing to take up, or a damaged note: every answer is in the store
    return progress if fits else None


def _part(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl.part"


def _json(path: Path, record: Record) -> None:
    """Keys keep their order: that of the constitution's axes is the order in which labels add them up."""
    write_text(path, json.dumps(record.model_dump(mode="json"), indent=2) + "\n")
