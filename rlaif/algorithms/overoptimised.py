"""The curve of over-optimisation through plain numbers: `rlaif.formulas.overoptimisation` for callers without torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlaif.formulas.overoptimisation import Curve, fit


def fitted(distances: Sequence[float], scores: Sequence[float]) -> Curve:
    """The RL form through measured (d, score).

    Raises:
        ValueError: see `fit`.
    """
    return fit(torch.tensor(distances, dtype=torch.float64), torch.tensor(scores, dtype=torch.float64), "rl")
