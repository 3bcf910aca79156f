"""Drawings of curves: deterministic, free of style, and with every spike."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib
import pytest

from rlaif.page.charts import MAX_POINTS, curve_svg, thin


def test_drawing_is_the_same_whatever_the_machine_prefers() -> None:
    drawing = curve_svg([0, 1, 2], [1.0, 3.0, 2.0], "a")
    with matplotlib.rc_context({"svg.hashsalt": "other", "font.size": 20, "lines.linestyle": "--"}):
        assert curve_svg([0, 1, 2], [1.0, 3.0, 2.0], "a") == drawing


def test_drawing_takes_colours_from_the_page_and_nothing_from_elsewhere() -> None:
    drawing = curve_svg([0, 1, 2], [1.0, 3.0, 2.0], "a")
    assert not re.search(r"style|#[0-9a-f]{6}|http|font-family|<!|<\?", drawing)
    assert {"var(--accent)", "var(--muted)", "var(--line)"} == set(re.findall(r"var\(--\w+\)", drawing))
    assert "update" in "".join(ElementTree.fromstring(drawing).itertext())


def test_drawings_of_one_page_share_no_identifier() -> None:
    def ids(name: str) -> set[str]:
        drawing = curve_svg([0, 1], [1.0, 2.0], name)
        own = set(re.findall(r'id="([^"]+)"', drawing))
        assert own and own == set(re.findall(r'(?:href="|url\()#([\w-]+)', drawing))
        return own

    assert ids("a").isdisjoint(ids("b"))


def test_axis_shows_the_range_of_the_values() -> None:
    numbers = [
        text.replace("−", "-") for text in texts(curve_svg(list(range(50)), [-2.0 + 0.1 * i for i in range(50)], "a"))
    ]
    values = [float(n) for n in numbers if re.fullmatch(r"-?\d+(\.\d+)?", n)]
    assert min(values) <= -1 and max(values) >= 40  # the lowest value's tick, and the last updates'


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [0.9, 1.0], [0.0, 0.1]])
def test_a_share_has_no_room_above_one_or_below_nothing(values: list[float]) -> None:
    shown = {text.replace("−", "-") for text in texts(curve_svg([1, 2], values, "a"))} - {"1", "2", "update"}
    assert shown and all(0 <= float(number) <= 1 for number in shown)


def test_long_numbers_are_not_cut_at_the_side() -> None:
    drawing = curve_svg([0, 1], [0.98925, 0.9900], "a")
    labels = re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="end"[^>]*>([^<]+)', drawing)
    assert labels and all(
        len(text) == 7 and float(x) > 7 * 5 for x, text in labels
    )  # a digit is 5.4 wide, a point half


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1e-9, 2e-9], [-1e300, 1e300], [5e-324, 0.0]])
def test_odd_values_can_be_drawn(values: list[float]) -> None:
    ElementTree.fromstring(curve_svg(list(range(len(values))), values, "a"))


@pytest.mark.parametrize(("steps", "values"), [([], []), ([1, 2], [1.0])])
def test_what_is_no_curve_is_refused(steps: list[int], values: list[float]) -> None:
    with pytest.raises(ValueError, match="make no curve"):
        curve_svg(steps, values, "a")


def test_thinning_keeps_ends_spikes_and_order() -> None:
    points = [(i, float(i % 7)) for i in range(10_000)]
    points[4321] = (4321, 900.0)
    points[8765] = (8765, -900.0)
    kept = thin(points)
    assert len(kept) <= MAX_POINTS and kept == sorted(kept)
    assert {points[0], points[-1], points[4321], points[8765]} <= set(kept)
    assert thin(points[:MAX_POINTS]) == points[:MAX_POINTS]


def texts(drawing: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter("text")]
