"""Distilled best-of-n by hand: which samples are kept, what the loss is, and what it is not: padding, or a KL."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from rlaif.algorithms import best_of_n
from rlaif.batches import Rollouts, Scored, merge_stats
from rlaif.records.errors import RunHalted

THREE = best_of_n.Config(group_size=3, missing_eos_penalty=0.4)


def scored(scores: list[float], finished: list[bool]) -> Scored:
    """Row i holds the token i, the first three rows once and the others twice; what is padded is NaN."""
    lengths = torch.tensor([1 if row < 3 else 2 for row in range(len(scores))])
    keep_BT = torch.arange(2) < lengths.unsqueeze(1)
    number_BT = torch.where(keep_BT, -1.0, math.nan)
    return Rollouts(
        prompt_BP=torch.ones(len(scores), 1, dtype=torch.int64),
        prompt_keep_BP=torch.ones(len(scores), 1, dtype=torch.bool),
        completion_BT=torch.arange(len(scores)).unsqueeze(1).expand(-1, 2).clone(),
        keep_BT=keep_BT,
        engine_logprobs_BT=number_BT,
        finished_B=torch.tensor(finished),
    ).scored(logprobs_BT=number_BT, ref_logprobs_BT=number_BT, scores_B=torch.tensor(scores))


def best() -> Scored:
    """Of (1, 3, 3) the first 3; of (5, 4.8, 4) the second, because the first is unfinished and comes to 4.6."""
    return best_of_n.prepare(scored([1, 3, 3, 5, 4.8, 4], [True, True, True, False, True, True]), THREE, {})


def test_the_best_of_each_prompt_is_kept() -> None:
    batch = best()
    assert batch.completion_BT[:, 0].tolist() == [1, 4]
    observed = best_of_n.observe(batch)
    assert observed.best_score == pytest.approx(3.9) and observed.best_finished == 1


def test_an_unfinished_sample_can_be_the_best() -> None:
    batch = best_of_n.prepare(scored([9.0, 1.0, 1.0], [False, True, True]), THREE, {})
    assert batch.completion_BT[:, 0].tolist() == [0]
    assert best_of_n.observe(batch).best_finished == 0


def test_the_loss_by_hand() -> None:
    logprobs_BT = torch.tensor([[-2.0, math.nan], [-1.0, -0.5]], requires_grad=True)
    result = best_of_n.loss(best(), logprobs_BT, THREE, tokens=3)
    assert result.total.item() == pytest.approx(3.5 / 3)
    (gradient,) = torch.autograd.grad(result.total, logprobs_BT)
    torch.testing.assert_close(gradient, torch.tensor([[-1 / 3, 0], [-1 / 3, -1 / 3]]))


def test_micro_batches_add_up() -> None:
    batch, logprobs_BT = best(), torch.tensor([[-2.0, math.nan], [-1.0, -0.5]])

    def share(rows: list[int]) -> dict[str, torch.Tensor]:
        return best_of_n.loss(batch.select(torch.tensor(rows)), logprobs_BT[rows], THREE, tokens=3).stats

    assert merge_stats([share([1]), share([0])]) == pytest.approx(merge_stats([share([0, 1])]))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_halts(wrong: float) -> None:
    spoilt = torch.tensor([[-2.0, math.nan], [-1.0, wrong]])
    with pytest.raises(RunHalted, match=r"log-probability is .* in row 1, token 1"):
        best_of_n.loss(best(), spoilt, THREE, tokens=3)
    with pytest.raises(ValueError, match="tokens"):
        best_of_n.loss(best(), spoilt, THREE, tokens=0)


@pytest.mark.parametrize("settings", [{"group_size": 1}, {"kl_coefficient": 0.2}, {"missing_eos_penalty": -1}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        best_of_n.Config.model_validate(settings)


def test_it_samples_from_the_start_and_remembers_nothing() -> None:
    assert best_of_n.SAMPLER == "reference"
    assert best_of_n.after_step(best_of_n.start(THREE), best_of_n.observe(best()), 6, THREE) == {}
