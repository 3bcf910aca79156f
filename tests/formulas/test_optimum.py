"""The optimum of a KL-regularised bandit, as the reward formulas see it.

Where the policy is reference * exp(reward / beta) / Z, every action earns the same once its KL penalty is paid, namely
beta log Z: no advantage is left, so a policy gradient rests there and nowhere else.
"""

from __future__ import annotations

import pytest
import torch

from rlaif.formulas import shaping

REFERENCE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REWARD = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("beta", "share", "optimum", "value"),
    [
        (1.0, 1.0, [0.359956, 0.587076, 0.052968], 1.328628),
        (0.5, 1.0, [0.182230, 0.807905, 0.009865], 1.504669),
        (0.5, 0.5, [0.359956, 0.587076, 0.052968], 0.664314),  # RLAIF's (1 - beta) reward - beta KL
    ],
)
def test_every_action_earns_the_same(beta: float, share: float, optimum: list[float], value: float) -> None:
    policy = torch.tensor(optimum, dtype=torch.float64)
    one = torch.ones(3, 1, dtype=torch.bool)  # three replies of one token
    earned = shaping.token_rewards(policy.log()[:, None], REFERENCE.log()[:, None], share * REWARD, one, beta)
    assert earned.flatten().tolist() == pytest.approx([value] * 3, abs=5e-5)  # the policy has six decimals
    elsewhere = shaping.token_rewards(REFERENCE.log()[:, None], REFERENCE.log()[:, None], share * REWARD, one, beta)
    assert elsewhere.std() > 0.1
