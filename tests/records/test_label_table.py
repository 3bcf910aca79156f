"""A table that is cut short and taken up again is the table that was never cut."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rlaif.critique import aggregate
from rlaif.records import label_table
from rlaif.records.files import file_digest, read_rows
from rlaif.records.judgement import Judgement
from rlaif.records.label import Label
from rlaif.records.label_table import LabelTable
from rlaif.records.labelling import LabelFolder, Labelling
from rlaif.records.settings import Lineage
from tests.critique.judged import PAIR, certain, constitution, judgement

RULES = constitution(("a", "x", 1.0))
ABOUT = LabelFolder(config=Labelling(), constitution=RULES, critics=[], seed=0)
LINEAGE = Lineage("hash", {})


def judged(number: int) -> list[Judgement]:
    """Every fifth pair has no answer; probabilities whose sums round."""
    rows = certain("a", 0.1 * (number % 10) + 0.03)
    rows = [judgement("a", "ab"), judgement("a", "ba")] if number % 5 == 4 else rows
    return [row.model_copy(update={"pair_id": str(number)}) for row in rows]


def add(table: LabelTable, numbers: Sequence[int]) -> None:
    labels = [aggregate.label(PAIR.model_copy(update={"id": str(n)}), RULES, judged(n)) for n in numbers]
    table.add(len(numbers), labels, [], [j for n in numbers for j in judged(n)])


def opened(folder: Path, key: str = "key") -> LabelTable:
    return LabelTable(folder, LINEAGE, key)


def digests(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): file_digest(f) for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty labels, written in blocks of ten without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    table = opened(folder)
    for start in range(0, 40, 10):
        add(table, range(start, start + 10))
    table.finish(ABOUT, skipped_identical=3)
    return folder


def test_what_a_table_leaves(whole: Path) -> None:
    assert {p.name for p in whole.iterdir()} == set(label_table.OUTPUTS)
    assert len(read_rows(whole / "labels.jsonl", Label, "labels")) == 40
    assert len(read_rows(whole / "judgements.jsonl", Judgement, "judgements")) == 80
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["count"], summary["labelled"], summary["judgements"]) == (40, 32, 80)
    assert (summary["failed_judgements"], summary["failures"]) == (16, {"no answer": 16})
    assert summary["skipped_identical"] == 3
    # Of p = .03, .13, .23, .33, .53, .63, .73, .83 (each four times) one is within .05 of a half, and the mean of
    # max(p, 1-p) is (.97 + .87 + .77 + .67 + .53 + .63 + .73 + .83) / 8.
    assert summary["ties"] == 4
    assert summary["mean_confidence"] == pytest.approx(0.75)


@pytest.mark.parametrize("damage", ["clean", "garbage after", "cut in a row", "one block lost"])
def test_a_table_that_was_cut_is_taken_up_where_it_was_good(tmp_path: Path, whole: Path, damage: str) -> None:
    table = opened(tmp_path)
    add(table, range(10))
    add(table, range(10, 20))
    table.note()
    if damage == "one block lost":  # written after the note, by a process that died before the next
        add(table, range(20, 30))
    for file in table._open.values():
        file.close()
    for name in label_table.FILES:
        with (tmp_path / f"{name}.jsonl.part").open("ab") as part:
            part.write({"garbage after": b"\0\xff\x00 not json\n", "cut in a row": b'{"key": "x'}.get(damage, b""))
    resumed = opened(tmp_path)
    assert resumed.pairs == 20
    for start in (20, 30):
        add(resumed, range(start, start + 10))
    resumed.finish(ABOUT, skipped_identical=3)
    assert digests(tmp_path) == digests(whole)


@pytest.mark.parametrize(
    "note", [None, "", "{", '{"key": "key"}', '{"key": "key", "pairs": 9, "sizes": {"labels": 1}, "tally": {}}']
)
def test_a_damaged_note_means_starting_over(tmp_path: Path, whole: Path, note: str | None) -> None:
    table = opened(tmp_path)
    add(table, range(10))
    table.close()
    path = tmp_path / "progress.json"
    if note is None:
        path.unlink()
    else:
        path.write_text(note)
    again = opened(tmp_path)
    assert again.pairs == 0
    for start in range(0, 40, 10):
        add(again, range(start, start + 10))
    again.finish(ABOUT, skipped_identical=3)
    assert digests(tmp_path) == digests(whole)


def test_part_files_that_are_shorter_than_noted_are_not_trusted(tmp_path: Path) -> None:
    table = opened(tmp_path)
    add(table, range(10))
    table.close()
    part = tmp_path / "labels.jsonl.part"
    part.write_bytes(part.read_bytes()[:-1])
    assert opened(tmp_path).pairs == 0


def test_labels_of_another_configuration_are_not_taken_up(tmp_path: Path) -> None:
    table = opened(tmp_path)
    add(table, range(10))
    table.close()
    assert opened(tmp_path, "another key").pairs == 0


def test_discarded_is_forgotten(tmp_path: Path) -> None:
    table = opened(tmp_path)
    add(table, range(10))
    table.note()
    table.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_within_a_block_notes_none_of_it(tmp_path: Path) -> None:
    """Ctrl-C may come between the first and the last row of a block; what is noted is what was whole."""

    class Interrupted(list[Judgement]):
        def __iter__(self) -> Iterator[Judgement]:
            yield judged(10)[0]
            raise KeyboardInterrupt

    table = opened(tmp_path)
    add(table, range(10))
    table.note()
    with pytest.raises(KeyboardInterrupt):
        table.add(1, [], [], Interrupted())
    table.close()
    resumed = opened(tmp_path)
    assert (resumed.pairs, resumed.tally.judgements) == (10, 20)
    resumed.finish(ABOUT)
    assert len(read_rows(tmp_path / "judgements.jsonl", Judgement, "judgements")) == 20


def test_kinds_of_failures_are_counted_and_capped(tmp_path: Path) -> None:
    table = opened(tmp_path)
    reasons = [f"reason {i}" for i in range(30)] + ["reason 3"] * 5 + ["two\n  lines"]
    failed = [judgement("a", "ab").model_copy(update={"reason": reason}) for reason in reasons]
    table.add(0, [], [], failed)
    counts = table.finish(ABOUT).failures
    assert len(counts) == label_table.REASONS + 1
    assert (counts["reason 3"], counts["other reasons"]) == (6, 11)
    assert sum(counts.values()) == len(reasons)
