from __future__ import annotations

import pytest
import torch

from rlaif.formulas import shaping

LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5]])
REF = torch.tensor([[-1.5, -1.0, -0.5]])


def test_token_rewards_are_the_kl_penalty_and_the_score_at_the_last_token() -> None:
    rewards = shaping.token_rewards(LOGPROBS, REF, torch.tensor([2.0]), torch.ones(1, 3, dtype=torch.bool), 0.1)
    assert rewards.tolist()[0] == pytest.approx([-0.05, 0.1, 2.0])


def test_the_score_moves_with_the_last_kept_token_and_keeps_its_penalty() -> None:
    keep = torch.tensor([[True, True, False]])
    rewards = shaping.token_rewards(LOGPROBS, REF, torch.tensor([2.0]), keep, 0.1)
    assert rewards.tolist()[0] == pytest.approx([-0.05, 2.1, 0])


def test_last_kept_with_padding_on_either_side_holes_and_an_empty_row() -> None:
    keep = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    expected = [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert shaping.last_kept(keep).int().tolist() == expected


def test_replacing_and_penalising_are_different_rules() -> None:
    scores, finished = torch.tensor([3.0, 3.0, -4.0]), torch.tensor([True, False, False])
    assert shaping.replace_unfinished(scores, finished, -1.0).tolist() == [3, -1, -1]
    assert shaping.penalise_unfinished(scores, finished, 1.0).tolist() == [3, 2, -5]
