from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from rlaif.batches import Rollouts
from rlaif.engines.learner.rows import Padded, RowReader, TokenRow, groups, rows_of
from tests.engines.learner.material import said
from tests.tiny import tiny_model

CPU = torch.device("cpu")
ROWS = [TokenRow([7], [8, 9]), TokenRow([1, 2, 3, 4], [5]), TokenRow([6, 6], [7, 8])]


def test_rows_begin_at_the_left_and_completions_are_marked() -> None:
    padded = Padded.of(ROWS, CPU)
    assert padded.inputs()["input_ids"].tolist() == [[7, 8, 9, 0, 0], [1, 2, 3, 4, 5], [6, 6, 7, 8, 0]]
    assert padded.inputs()["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert padded.completion_BC.long().tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]]


def test_numbers_of_tokens_go_where_batches_have_them() -> None:
    keep_BT = torch.tensor([[True, True, False], [True, False, False], [True, True, False]])
    values_BC = torch.tensor([[1.0, 2, 99, 99], [99, 99, 99, 3], [99, 4, 5, 99]], requires_grad=True)
    aligned_BT = Padded.of(ROWS, CPU).aligned(values_BC, keep_BT)
    assert aligned_BT.tolist() == [[1, 2, 0], [3, 0, 0], [4, 5, 0]]
    aligned_BT.sum().backward()  # type: ignore[no-untyped-call]
    assert values_BC.grad is not None and values_BC.grad.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]]


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
