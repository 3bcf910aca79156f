"""Rows are independent: what a formula says of a row does not depend on which rows it is computed with.

So a batch may be split into micro-batches or over processes. Whitening and means over all tokens are the exceptions,
and belong before any split.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rlaif.formulas import advantages, kl, logprobs, losses, masked, preference, shaping

ROWS, TOKENS, VOCABULARY = 5, 4, 3


class Drawn:
    """Random arguments of `rows` rows."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64)

        self.a, self.b, self.c = normal(TOKENS), normal(TOKENS), normal(TOKENS)
        self.scores = normal()
        self.logits, self.ref_logits = normal(TOKENS, VOCABULARY), normal(TOKENS, VOCABULARY)
        self.token = torch.randint(VOCABULARY, (ROWS, TOKENS), generator=generator)
        self.keep = torch.rand(ROWS, TOKENS, generator=generator) < 0.7
        self.finished = self.keep[:, 0]
        self.p, self.h, self.k = torch.rand(3, ROWS, generator=generator, dtype=torch.float64)

    def select(self, rows: Tensor) -> Drawn:
        chosen = object.__new__(Drawn)
        chosen.__dict__.update({name: tensor[rows] for name, tensor in vars(self).items()})
        return chosen


FORMULAS: dict[str, Callable[[Drawn], Tensor]] = {
    "masked.fill": lambda d: masked.fill(d.a, d.keep),
    "masked.sum of rows": lambda d: masked.sum(d.a, d.keep, dim=1),
    "logprobs.of_tokens": lambda d: logprobs.of_tokens(d.logits, d.token, d.keep, temperature=0.7),
    "logprobs.entropy": lambda d: logprobs.entropy(d.logits, d.keep),
    "logprobs.forward_kl": lambda d: logprobs.forward_kl(d.ref_logits, d.logits, d.keep),
    "kl.k1": lambda d: kl.k1(d.a, d.b),
    "kl.k2": lambda d: kl.k2(d.a, d.b),
    "kl.k3": lambda d: kl.k3(d.a, d.b),
    "shaping.last_kept": lambda d: shaping.last_kept(d.keep),
    "shaping.token_rewards": lambda d: shaping.token_rewards(d.a, d.b, d.scores, d.keep, 0.1),
    "shaping.replace_unfinished": lambda d: shaping.replace_unfinished(d.scores, d.finished, -1.0),
    "shaping.penalise_unfinished": lambda d: shaping.penalise_unfinished(d.scores, d.finished, 1.0),
    "advantages.gae": lambda d: torch.stack(advantages.gae(d.a, d.b, d.keep, 0.9, 0.8), dim=-1),
    "advantages.leave_one_out": lambda d: advantages.leave_one_out(d.a),
    "losses.clipped_policy": lambda d: (
        losses.clipped_policy(d.a, d.b, d.c, d.keep, clip_range=0.2, dual_clip=1.5, importance_BT=d.c.exp()).loss_BT
    ),
    "losses.clipped_value": lambda d: losses.clipped_value(d.a, d.b, d.c, d.keep, clip_range=0.2),
    "losses.truncated_importance": lambda d: losses.truncated_importance(d.a, d.b, d.keep, cap=1.3),
    "preference.soft_bradley_terry": lambda d: preference.soft_bradley_terry(d.scores, d.p, least=0.3),
    "preference.floor": lambda d: preference.floor(d.p),
    "preference.centering": lambda d: preference.centering(d.scores, d.a[:, 0]),
    "preference.cost": lambda d: preference.cost(d.scores, d.a[:, 0], d.p, d.h, d.k),
    "preference.uncertainty_weighted": lambda d: preference.uncertainty_weighted(d.a.T, 0.5),
    "preference.worst_case": lambda d: preference.worst_case(d.a.T),
    "preference.combine": lambda d: preference.combine(d.a.T, "uncertainty", coefficient=0.5),
}


@pytest.mark.parametrize("name", FORMULAS)
@given(st.permutations(range(ROWS)), st.integers(1, ROWS), st.integers(0, 10**6))
def test_a_row_has_the_same_numbers_in_any_company(name: str, order: list[int], size: int, seed: int) -> None:
    drawn, formula = Drawn(seed), FORMULAS[name]
    whole = formula(drawn)
    for begin in range(0, ROWS, size):
        rows = torch.tensor(order[begin : begin + size])
        torch.testing.assert_close(formula(drawn.select(rows)), whole[rows], rtol=1e-12, atol=1e-12)
