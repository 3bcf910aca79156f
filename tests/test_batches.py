from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlaif.batches import Rollouts, Scored, TrainBatch, concatenate, merge_stats, require_finite
from rlaif.records.errors import RunHalted

PAD = 9


def rollouts() -> Rollouts:
    return Rollouts.from_lists(
        prompts=[[1, 2, 3], [4]],
        completions=[[5], [6, 7, 8]],
        engine_logprobs=[[-0.5], [-1.0, -1.5, -2.0]],
        finished=[True, False],
        pad_id=PAD,
    )


def train_batch() -> TrainBatch:
    scored = rollouts().scored(
        logprobs_BT=torch.full((2, 3), -1.0),
        ref_logprobs_BT=torch.full((2, 3), -2.0),
        scores_B=torch.tensor([1.0, 2.0]),
    )
    return scored.valued(torch.tensor([[0.1, math.nan, math.inf], [0.1, 0.2, 0.3]])).train_batch(
        advantages_BT=torch.zeros(2, 3), returns_BT=torch.zeros(2, 3), importance_BT=torch.ones(2, 3)
    )


def replaced(**tensors: Any) -> TrainBatch:
    return dataclasses.replace(train_batch(), **tensors)


def test_prompts_are_padded_left_and_completions_right() -> None:
    batch = rollouts()
    assert batch.prompt_BP.tolist() == [[1, 2, 3], [PAD, PAD, 4]]
    assert batch.prompt_keep_BP.tolist() == [[True, True, True], [False, False, True]]
    assert batch.completion_BT.tolist() == [[5, PAD, PAD], [6, 7, 8]]
    assert batch.keep_BT.tolist() == [[True, False, False], [True, True, True]]
    assert batch.engine_logprobs_BT.tolist() == [[-0.5, 0, 0], [-1, -1.5, -2]]
    assert batch.finished_B.tolist() == [True, False]
    assert batch.tokens == 4


def test_a_pad_id_that_occurs_in_the_text_is_still_kept_there() -> None:
    batch = Rollouts.from_lists([[1]], [[PAD, PAD]], [[-1.0, -1.0]], [True], pad_id=PAD)
    assert batch.keep_BT.tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("prompts", "completions", "logprobs", "finished"),
    [
        ([], [], [], []),
        ([[1]], [[1], [2]], [[-1.0], [-1.0]], [True, True]),
        ([[]], [[1]], [[-1.0]], [True]),
        ([[1]], [[]], [[]], [True]),
        ([[1]], [[1, 2]], [[-1.0]], [True]),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    prompts: list[list[int]], completions: list[list[int]], logprobs: list[list[float]], finished: list[bool]
) -> None:
    with pytest.raises(ValueError, match=r"equally many|row 0"):
        Rollouts.from_lists(prompts, completions, logprobs, finished, pad_id=PAD)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainBatch)])
def test_every_field_is_required_and_its_shape_and_dtype_checked(name: str) -> None:
    batch = train_batch()
    good = {field.name: getattr(batch, field.name) for field in dataclasses.fields(TrainBatch)}
    with pytest.raises(TypeError, match=name):
        TrainBatch(**{key: value for key, value in good.items() if key != name})
    with pytest.raises(ValueError, match=r"shape|dimensions"):
        replaced(**{name: good[name][..., None]})
    with pytest.raises(ValueError, match=f"{name} has dtype"):
        replaced(**{name: good[name].to(torch.bfloat16)})


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"scores_B": torch.zeros(3)}, "scores_B has shape"),
        ({"keep_BT": torch.ones(2, 2, dtype=torch.bool)}, "keep_BT has shape"),
        ({"prompt_keep_BP": torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()}, "padded on the left"),
        ({"prompt_keep_BP": torch.tensor([[1, 0, 1], [1, 1, 1]]).bool()}, "padded on the left"),
        ({"prompt_keep_BP": torch.tensor([[0, 0, 0], [1, 1, 1]]).bool()}, "padded on the left"),
        ({"keep_BT": torch.tensor([[0, 1, 1], [1, 1, 1]]).bool()}, "padded on the right"),
        ({"keep_BT": torch.tensor([[1, 0, 1], [1, 1, 1]]).bool()}, "padded on the right"),
        ({"keep_BT": torch.tensor([[0, 0, 0], [1, 1, 1]]).bool()}, "padded on the right"),
        ({"advantages_BT": torch.zeros(2, 3, requires_grad=True)}, "must be detached"),
        ({"returns_BT": torch.zeros(2, 3, device="meta")}, "must be detached and on cpu"),
    ],
)
def test_wrong_layouts_are_refused(tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replaced(**tensors)


FLOATS = ["engine_logprobs_BT", "logprobs_BT", "ref_logprobs_BT", "values_BT", "advantages_BT", "returns_BT"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [*FLOATS, "importance_BT", "scores_B"])
def test_what_is_not_finite_halts_where_it_is_kept(name: str, value: float) -> None:
    tensor = getattr(train_batch(), name).clone()
    tensor[(1, 2) if name.endswith("_BT") else 1] = value
    where = "row 1, token 2" if name.endswith("_BT") else "row 1"
    with pytest.raises(RunHalted, match=rf"{name} is {value} in {where} \(1 such entries\)"):
        replaced(**{name: tensor})


@pytest.mark.parametrize("name", FLOATS)
def test_padding_may_hold_anything(name: str) -> None:
    tensor = getattr(train_batch(), name).clone()
    tensor[0, 1:] = math.nan
    assert math.isnan(getattr(replaced(**{name: tensor}), name)[0, 2].item())


def test_select_takes_rows_of_every_field_and_keeps_the_type() -> None:
    batch = train_batch()
    chosen = batch.select(torch.tensor([1, 0, 1]))
    assert type(chosen) is TrainBatch
    assert chosen.completion_BT.tolist() == [[6, 7, 8], [5, PAD, PAD], [6, 7, 8]]
    assert chosen.scores_B.tolist() == [2, 1, 2]
    assert chosen.tokens == 7
    assert batch.select(torch.tensor([True, False])).prompt_BP.tolist() == [[1, 2, 3]]
    with pytest.raises(ValueError, match="needs rows"):
        batch.select(torch.tensor([False, False]))


def test_parts_of_different_width_make_the_batch_that_they_would_have_been() -> None:
    first = Rollouts.from_lists([[1, 2, 3]], [[5]], [[-0.5]], [True], PAD)
    second = Rollouts.from_lists([[4]], [[6, 7, 8]], [[-1.0, -1.5, -2.0]], [False], PAD)
    joined, whole = concatenate([first, second]), rollouts()
    assert torch.equal(joined.prompt_keep_BP, whole.prompt_keep_BP) and torch.equal(joined.keep_BT, whole.keep_BT)
    assert joined.prompt_BP[whole.prompt_keep_BP].tolist() == [1, 2, 3, 4]
    assert joined.completion_BT[whole.keep_BT].tolist() == [5, 6, 7, 8]
    assert torch.equal(joined.engine_logprobs_BT, whole.engine_logprobs_BT)  # both are 0 where not kept
    assert joined.finished_B.tolist() == [True, False]


def test_joining_keeps_the_type_and_leaves_one_part_alone() -> None:
    whole = train_batch()
    twice = concatenate([whole, whole])
    assert isinstance(twice, TrainBatch) and len(twice.keep_BT) == 4
    assert concatenate([whole]) is whole


def test_to_keeps_the_type_and_the_numbers() -> None:
    moved = train_batch().to("cpu")
    assert type(moved) is TrainBatch
    assert moved.scores_B.tolist() == [1, 2]


def test_scoring_again_replaces_the_scores() -> None:
    batch = train_batch()
    again = batch.scored(
        logprobs_BT=batch.logprobs_BT,
        ref_logprobs_BT=batch.ref_logprobs_BT,
        scores_B=torch.tensor([5.0, 6.0]),
    )
    assert type(again) is Scored
    assert again.scores_B.tolist() == [5, 6]


def test_batches_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        train_batch().scores_B = torch.zeros(2)  # type: ignore[misc]


def test_stats_of_micro_batches_add_up_except_maxima() -> None:
    parts = [
        {"loss": torch.tensor(0.25), "ratio_max": torch.tensor(1.5)},
        {"loss": torch.tensor(0.5), "ratio_max": torch.tensor(1.25)},
    ]
    assert merge_stats(parts) == {"loss": 0.75, "ratio_max": 1.5}


def test_require_finite_without_a_mask() -> None:
    require_finite("scores", torch.tensor([1.0, 2.0]))
    with pytest.raises(RunHalted, match="scores is nan in row 1"):
        require_finite("scores", torch.tensor([1.0, math.nan]))
