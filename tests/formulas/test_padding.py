"""One property for every masked formula: padding is as good as absent.

A tight batch without padding is spread out: every row's entries move to random columns, one row without any kept entry
is added, and everything else is filled with NaN. Values and gradients at the kept entries must be those of the tight
batch, and exactly 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlaif.formulas import advantages, kl, logprobs, losses, masked, shaping


class Case(NamedTuple):
    function: Callable[..., Tensor]  # (token inputs (B, T)..., row inputs (B,)..., keep) -> (B, T) or scalar
    token_inputs: int
    row_inputs: int = 0


def vocabulary_logits(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second, torch.zeros_like(first)], dim=-1)


CASES = {
    "sum": Case(masked.sum, 1),
    "mean": Case(masked.mean, 1),
    "whiten": Case(masked.whiten, 1),
    "whiten, mean kept, unbiased": Case(lambda x, keep: masked.whiten(x, keep, shift_mean=False, unbiased=True), 1),
    "logprobs of tokens": Case(
        lambda a, b, keep: logprobs.of_tokens(vocabulary_logits(a, b), keep.long(), keep, temperature=0.7), 2
    ),
    "entropy": Case(lambda a, b, keep: logprobs.entropy(vocabulary_logits(a, b), keep), 2),
    "forward KL": Case(
        lambda a, b, keep: logprobs.forward_kl(vocabulary_logits(b, a).detach(), vocabulary_logits(a, b), keep), 2
    ),
    "KL per sequence": Case(
        lambda x, y, keep: kl.mean_per_sequence(kl.k3(masked.fill(x, keep), masked.fill(y, keep)), keep), 2
    ),
    "token rewards": Case(lambda x, y, score, keep: shaping.token_rewards(x, y, score, keep, 0.1), 2, 1),
    "GAE advantages": Case(lambda r, v, keep: advantages.gae(r, v, keep, 0.9, 0.8).advantages_BT, 2),
    "GAE returns": Case(lambda r, v, keep: advantages.gae(r, v, keep, 0.9, 0.8).returns_BT, 2),
    "policy loss": Case(lambda x, y, a, keep: losses.clipped_policy(x, y, a, keep, clip_range=0.2).loss_BT, 3),
    "policy loss, dual clip, weights": Case(
        lambda x, y, a, w, keep: (
            losses.clipped_policy(x, y, a, keep, clip_range=0.2, dual_clip=1.5, importance_BT=w).loss_BT
        ),
        4,
    ),
    "policy ratio": Case(lambda x, y, a, keep: losses.clipped_policy(x, y, a, keep, clip_range=0.2).ratio_BT, 3),
    "value loss": Case(lambda v, o, r, keep: losses.clipped_value(v, o, r, keep, clip_range=0.2), 3),
    # Detached on purpose, so it is given a gradient path of its own.
    "importance": Case(
        lambda x, y, keep: losses.truncated_importance(x, y, keep, cap=1.3) + 0 * masked.sum(x, keep), 2
    ),
}


def spread(tight: Tensor, keep: Tensor) -> Tensor:
    wide = torch.full(keep.shape, float("nan"), dtype=torch.float64)
    wide[keep] = tight.detach().flatten()
    return wide.requires_grad_()


@pytest.mark.parametrize("name", CASES)
@given(rows=st.integers(1, 3), tokens=st.integers(1, 4), extra=st.integers(0, 4), seed=st.integers(0, 10**6))
def test_padding_changes_nothing(name: str, rows: int, tokens: int, extra: int, seed: int) -> None:
    case = CASES[name]
    if rows * tokens < 2:
        tokens += 1  # a variance needs two entries
    generator = torch.Generator().manual_seed(seed)
    tight = [
        torch.randn(rows, tokens, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(case.token_inputs)
    ]
    scores = [torch.randn(rows, generator=generator, dtype=torch.float64) for _ in range(case.row_inputs)]
    keep = torch.zeros(rows + 1, tokens + extra, dtype=torch.bool)  # the last row stays empty
    for row in range(rows):
        keep[row, torch.randperm(tokens + extra, generator=generator)[:tokens]] = True

    expected = case.function(*tight, *scores, torch.ones(rows, tokens, dtype=torch.bool))
    wide = [spread(x, keep) for x in tight]
    nan = torch.tensor([float("nan")], dtype=torch.float64)
    result = case.function(*wide, *(torch.cat([s, nan]) for s in scores), keep)

    if result.ndim == 2:
        assert not result[~keep].any()
        result = result[keep].reshape(rows, tokens)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    expected_gradients = torch.autograd.grad((expected * upstream).sum(), tight, allow_unused=True)
    gradients = torch.autograd.grad((result * upstream).sum(), wide, allow_unused=True)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert (gradient is None) == (expected_gradient is None)
        if gradient is not None and expected_gradient is not None:
            assert not gradient[~keep].any()
            torch.testing.assert_close(gradient[keep].reshape(rows, tokens), expected_gradient, rtol=1e-7, atol=1e-7)


def test_explained_variance_ignores_padding() -> None:
    nan = float("nan")
    keep = torch.tensor([[True, True, False], [True, False, False]])
    returns = torch.tensor([[1.0, 2.0, nan], [3.0, nan, nan]])
    values = torch.tensor([[1.5, 2.5, nan], [2.0, nan, nan]])
    # residuals (-.5, -.5, 1): variance .5; returns (1, 2, 3): variance 2/3
    assert advantages.explained_variance(values, returns, keep) == pytest.approx(0.25)
