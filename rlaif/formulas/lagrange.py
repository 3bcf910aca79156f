"""The Lagrange multiplier of a constraint on expected cost.

Deviation from omnisafe, which moves the multiplier itself with Adam: an Adam step has the same size however large the
violation is. Here the step is proportional to it.
"""

from __future__ import annotations

import math

LOWEST = -700.0  # of log lambda: exp of less is 0, from which no step leads away


def update(multiplier: float, cost: float, limit: float, rate: float, *, cap: float = math.inf) -> float:
    """The next multiplier: log lambda + rate * lambda * (cost - limit), exponentiated, at most `cap`.

    Safe RLHF (arXiv 2310.12773) Eq. 31, with J_C = cost - limit.

    Args:
        multiplier: lambda, positive.
        cost: mean cost of recent episodes (a moving average).
        limit: the mean cost that is allowed.
        rate: step size alpha.
        cap: largest lambda allowed; no cap where not given. A multiplier that stays there means a limit that cannot be
            met or a biased cost.

    Raises:
        ValueError: `multiplier` is not positive and finite, or `cost` is not finite.
        OverflowError: without a cap, the next multiplier is beyond what a float holds.
    """
    if not (multiplier > 0 and math.isfinite(multiplier) and math.isfinite(cost)):
        raise ValueError(f"multiplier {multiplier} must be positive and cost {cost} finite")
    log_multiplier = math.log(multiplier) + rate * multiplier * (cost - limit)
    return cap if log_multiplier >= math.log(cap) else math.exp(max(LOWEST, log_multiplier))
