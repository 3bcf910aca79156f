"""A model beside rules that learn nothing, on pairs made by hand."""

from __future__ import annotations

import pytest

from rlaif.critique import heldout
from rlaif.critique.aggregate import human_label
from rlaif.critique.agreement import wilson
from rlaif.records.agreement import Bin
from rlaif.records.label import Label
from rlaif.records.pair import Pair
from rlaif.records.prompt import Message
from rlaif.records.trained import Calibration, Fit

LONG, SHORT = "a long reply", "short"


def label(first: str, second: str, p: float, *, preferred: int | None = None) -> Label:
    messages = [Message(role="user", content="q")]
    known = human_label(
        Pair.model_validate({"id": "x", "messages": messages, "responses": (first, second), "preferred": 0})
    )
    return known.model_copy(update={"p": p, "pair": known.pair.model_copy(update={"preferred": preferred})})


LABELS = [label(LONG, SHORT, 0.9), label(SHORT, LONG, 0.8), label(LONG, SHORT, 0.3), label("one", "two", 0.1)]


def test_every_rule_on_four_pairs() -> None:
    found = heldout.against_baselines(LABELS, [1, 1, 1, 1])
    values = {name: interval.value for name, interval in found.baselines.items()}
    assert values == {"longer": 1.5 / 4, "shorter": 2.5 / 4, "random": 0.5, "first": 0.5}
    assert (found.against.of, found.against.against) == ("model", "shorter")
    # right in all; the rule has 0, 1, 1 and one half: the differences are 1, 0, 0 and one half
    assert found.against.value == pytest.approx(1.5 / 4)


def test_stored_order_says_nothing_where_choices_are_known() -> None:
    known = [label(LONG, SHORT, 0.9, preferred=0), *LABELS]
    assert "first" not in heldout.against_baselines(known, [1] * 5).baselines


@pytest.mark.parametrize(("stored_first", "best"), [(40, "first"), (22, "random")])
def test_stored_order_is_a_rule_to_beat_where_it_is_more_than_luck(stored_first: int, best: str) -> None:
    labels = [label("one", "two", 0.9)] * stored_first + [label("one", "two", 0.1)] * (40 - stored_first)
    found = heldout.against_baselines(labels, [1.0] * 40)
    assert found.baselines["first"].value == stored_first / 40
    assert found.against.against == best


@pytest.mark.parametrize(("p", "prefers"), [(0.5, False), (0.52, False), (0.46, False), (0.56, True), (0.4, True)])
def test_what_is_nearly_one_half_prefers_no_side(p: float, prefers: bool) -> None:
    assert heldout.decided(label(LONG, SHORT, p)) is prefers


@pytest.mark.parametrize(("right", "shown"), [(40, True), (24, False), (20, False), (0, False)])
def test_better_is_shown_by_the_interval_of_the_difference(right: int, shown: bool) -> None:
    """Forty pairs, of which a coin gets twenty: four more are not enough, all forty are."""
    labels = [label("one", "two", 0.9, preferred=0)] * 40
    scores = [1.0] * right + [0.0] * (40 - right)
    found = heldout.against_baselines(labels, scores)
    problem = heldout.shortfall(wilson(right, 40), *found)
    assert (problem is None) is shown
    assert problem is None or f"{right / 40:.3f} against 0.500 on the same 40 held-out pairs" in problem


def test_a_model_no_better_than_length_is_not_shown_to_be_better() -> None:
    labels = [label(LONG, SHORT, 0.9)] * 40 + [label(SHORT, LONG, 0.9)] * 20 + [label(SHORT, LONG, 0.2)] * 20
    found = heldout.against_baselines(labels, [1.0] * 40 + [0.0] * 20 + [1.0] * 20)
    assert (found.against.against, found.against.value) == ("longer", 0.0)
    assert heldout.shortfall(wilson(60, 80), *found) is not None


def test_nothing_to_count_is_no_evidence() -> None:
    found = heldout.against_baselines([], [])
    assert "no held-out label prefers a side" in (heldout.shortfall(wilson(0, 0), *found) or "")


def test_the_picture_has_a_bar_for_what_labels_say_and_a_mark_for_what_the_model_says() -> None:
    bins = [
        Bin(low=0.5, high=0.6, n=8, confidence=0.55, accuracy=0.75),
        Bin(low=0.9, high=1, n=2, confidence=1, accuracy=1),
    ]
    fit = Fit(ece=0.1, ece_equal_mass=0.1, brier=0.2, nll=0.3, reliability=bins)
    head, first, second = heldout.picture(Calibration(temperature=None, before=fit, after=None))
    assert "as trained" in head and "1.0" in head
    assert first.endswith("   ####|###############")  # 0.75 is half way from 0.5 to 1: 20 of 40; 0.55 a tenth: 4
    assert second.endswith("#" * 39 + "|")
    tempered = heldout.picture(Calibration(temperature=2.0, before=fit, after=fit))
    assert "at temperature 2.00" in tempered[0]
