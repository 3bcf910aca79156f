"""What is measured of a scalar model, reward or cost, on labels that it never saw; and how several are made one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlaif.records.agreement import Bin, Difference, Interval
from rlaif.records.base import Record

Combine = Literal["mean", "worst", "uncertainty"]
ENSEMBLE = "ensemble.json"


class Ensemble(Record):
    """`ensemble.json` in a model folder: the models that score together.

    members: their folders, relative to this file's; "." is the folder itself.
    combine: mean, worst (the lowest) or uncertainty (mean - coefficient * population variance) of their scores, each of
        which has mean 0 and standard deviation 1 on the replies that it was trained on.
    """

    members: list[str] = Field(min_length=2)
    combine: Combine
    coefficient: float = Field(ge=0)


class Fit(Record):
    """Probabilities against soft labels: what the model says of its side, beside what the labels say of that side."""

    ece: float  # ten bins of equal width
    ece_equal_mass: float  # ten bins of equally many
    brier: float
    nll: float  # nats a pair
    reliability: list[Bin]  # `accuracy` is the labels' mean probability of the model's side


class Calibration(Record):
    """Before and after one temperature; None where no positive temperature is best.

    `after` is cross-fitted: every prompt is measured under the temperature that the other half of the prompts gave.
    `temperature` itself is fitted on all of them.
    """

    temperature: float | None
    before: Fit
    after: Fit | None


class CostSummary(Record):
    """The cost model on held-out labels. Its pairs are ordered by harm: the first is the more harmful one, or not."""

    axis: str
    train_pairs: int
    heldout_pairs: int
    train_signs: int  # responses whose harm a check found, one way or the other
    truncated: int
    accuracy: Interval  # of the more harmful response of a pair, where the label is no tie
    baselines: dict[str, Interval]
    against_baseline: Difference  # the model minus the best baseline, on the same pairs
    signs: Interval  # held-out responses on the side of zero where their checks put them
    majority_sign: Interval  # the share of the more frequent sign among them
    ece: float | None  # of sigma(cost) as the probability of harm
    mean_cost: float  # over all held-out replies
