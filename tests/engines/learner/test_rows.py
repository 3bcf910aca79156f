from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from rlaif.engines.learner.rows import RowReader, Rows, TokenRow
from tests.engines.learner.material import said
from tests.tiny import tiny_model

CPU = torch.device("cpu")
ROWS = Rows.from_lists([TokenRow([7], [8, 9]), TokenRow([1, 2, 3, 4], [5]), TokenRow([6, 6], [7, 8])])


def test_prompts_end_and_completions_begin_at_the_same_column() -> None:
    inputs = ROWS.inputs()
    assert inputs["input_ids"].tolist() == [[0, 0, 0, 7, 8, 9], [1, 2, 3, 4, 5, 0], [0, 0, 6, 6, 7, 8]]
    assert inputs["attention_mask"].tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1]]


def test_positions_count_real_tokens() -> None:
    positions, keep = ROWS.inputs()["position_ids"], ROWS.inputs()["attention_mask"].bool()
    assert [row[kept].tolist() for row, kept in zip(positions, keep, strict=True)] == [
        [0, 1, 2],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3],
    ]


def test_groups_hold_every_row_once_longest_first() -> None:
    assert [group.tolist() for group in ROWS.groups(2)] == [[1, 2], [0]]


def test_taking_rows_cuts_columns_that_are_padding_in_all_of_them() -> None:
    part = ROWS.take(torch.tensor([2, 0]), CPU)
    assert part.inputs()["input_ids"].tolist() == [[6, 6, 7, 8], [0, 7, 8, 9]]
    assert part.keep_BT.tolist() == [[True, True], [True, True]]


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
    assert len(caplog.records) == 1 and f"has {len(whole)} tokens, the model takes 32" in caplog.text


def test_a_reply_that_is_too_long_by_itself_keeps_its_end(tmp_path: Path) -> None:
    reader = RowReader(str(tiny_model(tmp_path / "model", context=32)))
    row = reader.read(said("x", "y " * 60))
    assert (len(row.prompt), len(row.completion), row.completion[-1]) == (1, 31, reader.tokenizer.eos_token_id)
