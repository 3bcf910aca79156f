from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from rlaif.algorithms import bradley_terry
from rlaif.batches import merge_stats
from rlaif.records.errors import RunHalted

CONFIG = bradley_terry.Config()


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_loss_by_hand() -> None:
    # pairs: hard label with scores (1.2, .4); soft label .7 with scores (.8, 0)
    result = bradley_terry.loss(
        column(1.2, 0.8), column(0.4, 0.0), column(1.0, 0.7), column(1.0, 1.0), CONFIG, weight_total=2
    )
    assert result.cross_entropy.item() == pytest.approx((0.371101 + 0.611101) / 2, abs=1e-6)
    assert result.kl_to_target.item() == pytest.approx((0.371101 + 0.000237) / 2, abs=1e-6)
    assert result.total.item() == pytest.approx((0.396701 + 0.611101 + 0.0064) / 2, abs=1e-6)
    stats = merge_stats([result.stats])
    assert stats["centering"] == pytest.approx((2.56 + 0.64) / 2)
    assert stats["accuracy"] == 1
    assert stats["loss"] == result.total.item()


def test_weights_average_and_abstentions_count_for_nothing() -> None:
    first, second = column(0.8, math.nan, 0.8).requires_grad_(), column(0.0, math.inf, 0.0)
    result = bradley_terry.loss(
        first, second, column(1.0, math.nan, 0.7), column(3.0, 0.0, 1.0), CONFIG, weight_total=4
    )
    assert result.cross_entropy.item() == pytest.approx((3 * 0.371101 + 0.611101) / 4, abs=1e-6)
    (gradient,) = torch.autograd.grad(result.total, first)
    # weight / 4 * (sigma(.8) - p + .02 * (first + second))
    assert gradient.tolist() == pytest.approx([0.75 * (0.689974 - 1 + 0.016), 0, 0.25 * (-0.010026 + 0.016)], abs=1e-6)


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [(1.0, 0.9, 1), (1.0, 0.1, 0), (-1.0, 0.1, 1), (0.0, 0.9, 0.5), (1.0, 0.5, 0.5), (0.0, 0.5, 0.5)],
)
def test_accuracy_counts_ties_half(difference: float, p: float, expected: float) -> None:
    result = bradley_terry.loss(column(difference), column(0), column(p), column(1), CONFIG, weight_total=1)
    assert result.stats["accuracy"].item() == expected


pairs = st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(0, 1), st.floats(0, 2))


@given(st.lists(pairs, min_size=1, max_size=6), st.integers(1, 5))
def test_swaps_mirror_and_micro_batches_add_up(rows: list[tuple[float, float, float, float]], size: int) -> None:
    first, second, p, weight = (column(*numbers) for numbers in zip(*rows, strict=True))
    total = float(weight.sum()) + 1
    whole = bradley_terry.loss(first, second, p, weight, CONFIG, weight_total=total)
    swapped = bradley_terry.loss(second, first, 1 - p, weight, CONFIG, weight_total=total)
    parts = [
        bradley_terry.loss(first[i], second[i], p[i], weight[i], CONFIG, weight_total=total)
        for i in torch.split(torch.arange(len(rows)), size)
    ]
    expected = merge_stats([whole.stats])
    assert merge_stats([part.stats for part in parts]) == pytest.approx(expected, abs=1e-9)
    # A tie within rounding may flip sides under 1 - p.
    tied = bool(((p - 0.5).abs() < 1e-12).any())
    mirrored = merge_stats([swapped.stats])
    assert {k: v for k, v in mirrored.items() if k != "accuracy" or not tied} == pytest.approx(
        {k: v for k, v in expected.items() if k != "accuracy" or not tied}, abs=1e-9
    )


def test_training_reaches_the_label_centred_on_zero() -> None:
    # The optimum difference is logit .7, and centring asks nothing of it, only that the two scores add up to 0.
    config = bradley_terry.Config(centering_coefficient=0.1)
    scores = column(3.0, 1.0).requires_grad_()
    for _ in range(100):
        result = bradley_terry.loss(scores[:1], scores[1:], column(0.7), column(1), config, weight_total=1)
        (gradient,) = torch.autograd.grad(result.total, scores)
        scores = (scores - 2 * gradient).detach().requires_grad_()
    assert scores.tolist() == pytest.approx([0.423649, -0.423649], abs=1e-6)
    assert result.kl_to_target.item() == pytest.approx(0, abs=1e-9)
    assert result.cross_entropy.item() == pytest.approx(0.610864, abs=1e-6)


def test_faults_halt_or_are_refused() -> None:
    one = column(1)
    for wrong in (math.nan, math.inf):
        with pytest.raises(RunHalted, match="score of a first response"):
            bradley_terry.loss(column(wrong), one, one, one, CONFIG, weight_total=1)
        with pytest.raises(RunHalted, match="score of a second response"):
            bradley_terry.loss(one, column(wrong), one, one, CONFIG, weight_total=1)
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="probability"):
            bradley_terry.loss(one, one, column(p), one, CONFIG, weight_total=1)
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight"):
            bradley_terry.loss(one, one, one, column(weight), CONFIG, weight_total=1)
    with pytest.raises(ValueError, match="weight_total"):
        bradley_terry.loss(one, one, one, one, CONFIG, weight_total=0)
    with pytest.raises(ValidationError):
        bradley_terry.Config.model_validate({"centring_coefficient": 0.01})


def test_a_margin_is_minimised_and_not_reported() -> None:
    """-log sigma(0.8 - 1) = 0.798139; without the margin 0.371101."""
    config = bradley_terry.Config(margin=1.0, centering_coefficient=0.0)
    result = bradley_terry.loss(column(0.8), column(0.0), column(1.0), column(1.0), config, weight_total=1)
    assert result.total.item() == pytest.approx(0.798139, abs=1e-6)
    assert result.cross_entropy.item() == pytest.approx(0.371101, abs=1e-6)
    assert result.kl_to_target.item() == pytest.approx(0.371101, abs=1e-6)
