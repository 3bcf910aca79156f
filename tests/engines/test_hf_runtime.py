"""How a token is drawn, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rlaif.engines.hf_runtime import _draw

LOGITS = torch.tensor([[0.5, 0.25, 0.25]]).log() + 3  # a shift of all logits changes nothing


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.74, 1), (0.76, 2), (0.999, 2)])
def test_a_draw_falls_where_the_cumulative_probability_passes_it(uniform: float, token: int) -> None:
    ids, logprobs = _draw(LOGITS, torch.tensor([uniform], dtype=torch.float64), 1.0)
    assert ids.tolist() == [token]
    assert logprobs.item() == pytest.approx(math.log([0.5, 0.25, 0.25][token]), abs=1e-6)


def test_temperature_one_half_squares_the_odds() -> None:
    """1/2, 1/4, 1/4 become 4/6, 1/6, 1/6: a draw at 0.6 moves from the second token to the first."""
    ids, logprobs = _draw(LOGITS, torch.tensor([0.6], dtype=torch.float64), 0.5)
    assert ids.tolist() == [0]
    assert logprobs.item() == pytest.approx(math.log(4 / 6), abs=1e-6)


def test_temperature_zero_takes_the_best_and_reports_it_at_temperature_one() -> None:
    ids, logprobs = _draw(LOGITS, torch.tensor([0.9], dtype=torch.float64), 0.0)
    assert ids.tolist() == [0]
    assert logprobs.item() == pytest.approx(math.log(0.5), abs=1e-6)


def test_an_impossible_token_is_never_drawn() -> None:
    impossible = torch.tensor([[-math.inf, 0.0, -math.inf]])
    for uniform in (0.0, 0.5, math.nextafter(1.0, 0.0)):
        ids, _ = _draw(impossible, torch.tensor([uniform], dtype=torch.float64), 1.0)
        assert ids.tolist() == [1], uniform
