from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rlaif.batches import Rollouts
from rlaif.engines.learner.rows import RowReader, TokenRow, groups, parts, rows_of
from rlaif.ports.processes import ALONE, Alone
from tests.engines.learner.material import said
from tests.tiny import tiny_model

ROWS = [TokenRow([7], [8, 9]), TokenRow([1, 2, 3, 4], [5]), TokenRow([6, 6], [7, 8])]


def test_rollouts_lose_their_padding() -> None:
    batch = Rollouts.from_lists(
        prompts=[row.prompt for row in ROWS],
        completions=[row.completion for row in ROWS],
        engine_logprobs=[[0.0] * len(row.completion) for row in ROWS],
        finished=[True] * 3,
        pad_id=5,
    )
    assert rows_of(batch) == ROWS


def test_groups_hold_every_row_once_longest_first() -> None:
    assert groups([3, 5, 4, 5], 3) == [[1, 3, 2], [0]]


class OneOf(Alone):
    """A process among others that need not be there."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def test_one_process_takes_all_groups() -> None:
    assert [part.rows for part in parts([3, 5, 4, 5], 3, ALONE)] == groups([3, 5, 4, 5], 3)


@pytest.mark.parametrize(("rows", "size"), [(7, 2), (4, 2), (1, 4), (2, 3), (9, 1)])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_every_row_and_go_through_equally_many_passes(rows: int, size: int, processes: int) -> None:
    lengths = [(7 * row) % 5 + 1 for row in range(rows)]
    everyone = [parts(lengths, size, OneOf(rank, processes)) for rank in range(processes)]
    counted = [row for own in everyone for part in own if part.counts for row in part.rows]
    assert sorted(counted) == list(range(rows))
    assert len({len(own) for own in everyone}) == 1
    assert all(part.rows and len(part.rows) <= size for own in everyone for part in own)


def test_a_row_that_is_too_long_loses_its_oldest_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = str(tiny_model(tmp_path / "model", context=32))
    reader = RowReader(folder)
    whole = RowReader(str(tiny_model(tmp_path / "wide"))).read(said("x " * 60, "short"))
    with caplog.at_level(logging.WARNING):
        row = reader.read(said("x " * 60, "short"))
        reader.read(said("x " * 60, "short"))
        reader.read(said("fits", "ok"))
    assert row.completion == whole.completion
    assert row.prompt == whole.prompt[-(32 - len(row.completion)) :]
    assert reader.truncated == 1
    assert len(caplog.records) == 1 and f"has {len(whole.ids)} tokens, the model takes 32" in caplog.text


def test_a_reply_that_is_too_long_by_itself_keeps_its_end(tmp_path: Path) -> None:
    reader = RowReader(str(tiny_model(tmp_path / "model", context=32)))
    row = reader.read(said("x", "y " * 60))
    assert (len(row.prompt), len(row.completion), row.completion[-1]) == (1, 31, reader.tokenizer.eos_token_id)
