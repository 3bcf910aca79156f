"""Which policy was kept, and where a curve peaks, if the audits say so."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rlaif.ports import guardreport
from rlaif.ports.readout import Readout
from rlaif.records.files import write_rows
from rlaif.records.guard import Audit, Guard, Rule
from rlaif.records.header import Header
from tests.page.audited import audit, exploit


def planted(distances: list[float], alpha: float, beta: float) -> list[Audit]:
    """Audits whose win rate less one half is exactly d (alpha - beta ln d)."""
    return [
        audit(10 * i, 0.5 + d * (alpha - beta * math.log(d)), proxy=0.25 + 0.3 * d, kl=d * d)
        for i, d in enumerate(distances, 1)
    ]


def test_a_planted_peak_is_found() -> None:
    alpha, beta = 0.3, 0.2
    fit = guardreport.over_optimisation("critic", planted([0.5, 1.0, 1.5, 2.0, 2.5, 3.0], alpha, beta))
    assert fit.peak == pytest.approx(math.exp(alpha / beta - 1), abs=1e-3) and fit.reason is None
    assert fit.peaks == pytest.approx((fit.peak, fit.peak), abs=1e-3)  # without noise no single audit matters
    assert fit.r_squared == pytest.approx(1.0, abs=1e-6)
    top = max(fit.line, key=lambda point: point[1])
    assert top[0] == pytest.approx(fit.peak, abs=0.06)  # drawn in 60 pieces from 0 to 3


@pytest.mark.parametrize(
    ("audits", "reason"),
    [
        (planted([1.0, 2.0, 3.0], 0.3, 0.2), "3 audits away from the start are too few"),
        (planted([0.1, 0.2, 0.3, 0.4, 0.5], 0.2, -0.1), "does not bend down anywhere near"),
        (planted([0.2, 0.4, 0.6, 0.8, 1.0], 0.3, 0.2), "would bend down at d = 1.65, past the furthest audit"),
        (planted([2.0, 2.2, 2.4, 2.6, 2.8], 0.1, 0.1), "would peak at d = 1.00, before the first audit"),
    ],
)
def test_a_peak_that_was_not_seen_is_not_named(audits: list[Audit], reason: str) -> None:
    fit = guardreport.over_optimisation("critic", audits)
    assert fit.peak is None and fit.peaks is None and fit.reason is not None and reason in fit.reason


def measured(distances: list[float], scores: list[float]) -> list[Audit]:
    pairs = zip(distances, scores, strict=True)
    return [audit(10 * i, 0.5 + score, 1.0, d * d) for i, (d, score) in enumerate(pairs, 1)]


@pytest.mark.parametrize(
    ("audits", "reason"),
    [
        (  # the scores peak at d = 1.9, the fitted curve at 1.1
            measured(
                [0.83, 1.61, 1.73, 1.93, 2.0, 2.36, 2.75, 2.94, 3.2],
                [0.08, 0.27, 0.31, 0.37, 0.33, 0.2, 0.09, -0.02, -0.16],
            ),
            "does not follow the audits well enough",
        ),
        (measured([0.5, 1.0, 1.5, 4.0], [0.15, 0.25, 0.32, 0.2]), "leaving out a single audit"),  # the last one alone
    ],
)
def test_a_peak_that_hangs_on_little_is_not_named(audits: list[Audit], reason: str) -> None:
    fit = guardreport.over_optimisation("critic", audits)
    assert fit.peak is None and fit.reason is not None and reason in fit.reason


def test_missing_audits_and_negative_kl_are_no_points_of_a_curve() -> None:
    audits = [*planted([0.5, 1.0, 1.5, 2.0], 0.3, 0.2), audit(50, None, 1.0, 4.0), audit(60, 0.5, 1.0, -0.1)]
    fit = guardreport.over_optimisation("critic", audits)
    assert [point.update for point in fit.points] == [10, 20, 30, 40, 60] and fit.points[-1].d == 0
    assert fit.r_squared == pytest.approx(1.0, abs=1e-6)


def written(folder: Path, audits: list[Audit], updates: int) -> Readout:
    for name, rows in (("audits", audits), ("exploits", [exploit()])):
        write_rows(folder / f"policy/{name}.jsonl", Header(kind=name, config_hash="0", parents={}), rows)
    lines = [f'{{"step": {step}, "kl": 0.5}}\n' for step in range(1, updates + 1)]
    (folder / "policy/metrics.jsonl").write_text("".join(lines))
    return Readout(folder)


def test_the_policy_that_was_kept(tmp_path: Path) -> None:
    audits = [audit(10, 0.9, 1.0, 1.0), audit(20, 0.6, 2.0, 2.0), audit(30, 0.3, 3.0, 3.0, ("win_rate",))]
    of = written(tmp_path, audits, 30)
    back, on = (Guard(rules=[Rule(watch="win_rate", then=then)]) for then in ("rollback", "stop"))
    found = guardreport.read(of, back, finished=True)
    assert found is not None
    assert (found.best, found.kept, found.rolled_back, found.exploit_count) == (10, 10, True, 1)
    assert found.actions == {"win_rate": "rollback"}
    stopped = guardreport.read(of, on, finished=False)
    assert stopped is not None and (stopped.best, stopped.kept, stopped.rolled_back) == (10, None, False)
    unknown = guardreport.read(of, None, finished=True)
    assert unknown is not None and (unknown.kept, unknown.rolled_back) == (30, False)


def test_without_audits_there_is_no_guard(tmp_path: Path) -> None:
    assert guardreport.read(Readout(tmp_path), Guard(), finished=True) is None
