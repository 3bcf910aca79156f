"""Choices whose probabilities are written down."""

from __future__ import annotations

import math

import pytest

from rlaif.critique.known_answers import measure, unread


def logs(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


def test_accuracy_and_calibration_by_hand() -> None:
    """Twice 0.75 sure after scaling, right once: half are right, a quarter too sure."""
    found = measure([(logs(0.6, 0.2), [0]), (logs(0.3, 0.1), [1]), (None, [0])])
    assert (found.accuracy.value, found.accuracy.n, found.failed) == (0.5, 2, 1)
    assert found.ece == pytest.approx(0.25)
    assert found.on_choices == pytest.approx(0.6)
    (own,) = found.reliability
    assert (own.n, own.accuracy) == (2, 0.5) and own.confidence == pytest.approx(0.75)


def test_any_right_choice_will_do_and_equals_share() -> None:
    found = measure([(logs(0.2, 0.5, 0.3), [1, 2]), (logs(0.25, 0.25), [0])])
    assert found.accuracy.value == 0.75


def test_choices_of_no_probability_to_speak_of_are_scaled_all_the_same() -> None:
    found = measure([([-800.0, -801.0], [0])])
    assert found.accuracy.value == 1.0 and found.on_choices == 0.0
    assert found.reliability[0].confidence == pytest.approx(1 / (1 + math.exp(-1)))


def test_what_was_not_read_is_missing() -> None:
    found = unread(3, "no probabilities")
    assert found.accuracy.value is None and found.failed == 3 and found.reason == "no probabilities"
