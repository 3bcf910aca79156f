"""Every function that people call from outside takes tensors and floats by these names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from rlaif.formulas import advantages, calibration, kl, lagrange, logprobs, losses, masked, preference, shaping

NAMES: dict[Callable[..., Any], str] = {
    masked.fill: "values keep",
    masked.sum: "values keep",
    masked.mean: "values keep",
    masked.whiten: "values keep shift_mean unbiased",
    logprobs.of_tokens: "logits_BTV token_BT keep_BT temperature",
    logprobs.entropy: "logits_BTV keep_BT temperature",
    logprobs.forward_kl: "ref_logits_BTV logits_BTV keep_BT temperature",
    kl.k1: "logprobs ref_logprobs",
    kl.k2: "logprobs ref_logprobs",
    kl.k3: "logprobs ref_logprobs",
    kl.adaptive_coefficient: "coefficient observed target episodes horizon",
    shaping.token_rewards: "logprobs_BT ref_logprobs_BT scores_B keep_BT coefficient",
    advantages.gae: "rewards_BT values_BT keep_BT gamma lam",
    advantages.leave_one_out: "rewards_BG",
    losses.clipped_policy: "logprobs_BT old_logprobs_BT advantages_BT keep_BT clip_range dual_clip importance_BT",
    losses.clipped_value: "values_BT old_values_BT returns_BT keep_BT clip_range",
    losses.truncated_importance: "logprobs_BT engine_logprobs_BT keep_BT cap",
    preference.soft_bradley_terry: "margin p",
    preference.cost: "first second p first_harmful second_harmful",
    preference.centering: "first second",
    preference.uncertainty_weighted: "scores_KB coefficient",
    calibration.ece: "confidence_N correct_N",
    calibration.temperature: "difference_N p_N",
    lagrange.update: "multiplier cost limit rate",
}


@pytest.mark.parametrize("function", NAMES, ids=lambda function: f"{function.__module__}.{function.__name__}")
def test_a_call_by_name_is_complete(function: Callable[..., Any]) -> None:
    inspect.signature(function).bind(**dict.fromkeys(NAMES[function].split()))
