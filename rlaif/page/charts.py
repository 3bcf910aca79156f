"""Curves and other small drawings, as SVG that stands inside the page.

matplotlib draws; the drawing is then fitted to the page. Styles become attributes, because the page's content policy
allows no inline style; colours become the page's own variables, so that one drawing is readable in light and in dark;
identifiers become unique, because all drawings share the page's name space. No text of a report goes into a drawing:
names and units are captions of the page.

The same curve gives the same bytes: identifiers are salted with a constant, no date is written, and matplotlib's
settings are its defaults, not those of the machine.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple
from xml.etree import ElementTree

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

SIZE = (3.4, 1.8)  # inches
WIDE = (4.8, 2.0)
SQUARE = (3.2, 3.0)
MAX_POINTS = 400  # about two a pixel at the width that the page gives a drawing
SETTINGS = {"svg.hashsalt": "rlaif", "svg.fonttype": "none", "font.size": 8.5}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
# Stand-ins that matplotlib accepts as colours, and the page's variables that they become.
LINE, LABELS, GRID = "#000001", "#000002", "#000003"
Tone = Literal["accent", "second", "bad", "good", "muted"]
TONES: dict[Tone, str] = {"accent": LINE, "second": "#000004", "bad": "#000005", "good": "#000006", "muted": LABELS}
VARIABLES = {GRID: "var(--line)", **{colour: f"var(--{tone})" for tone, colour in TONES.items()}}
NAMESPACES = re.compile(r"^\{http://www\.w3\.org/(?:2000/svg|1999/xlink)\}")


class Series(NamedTuple):
    """Points of a drawing. `low` and `high` are the ends of an interval about each."""

    x: Sequence[float]
    y: Sequence[float]
    tone: Tone = "accent"
    kind: Literal["line", "points", "dashed"] = "line"
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


class Mark(NamedTuple):
    """An upright line at `x`: dashed, or whole."""

    x: float
    tone: Tone
    whole: bool = False


def curve_svg(steps: Sequence[int], values: Sequence[float], name: str, marks: Sequence[Mark] = ()) -> str:
    """An SVG element that draws `values` over `steps`; `name` is an identifier that no other drawing has.

    Raises:
        ValueError: there is nothing to draw, or not one value for every step.
    """
    if not steps or len(steps) != len(values):
        raise ValueError(f"{len(steps)} steps and {len(values)} values make no curve")
    xs, ys = zip(*thin(list(zip(steps, values, strict=True))), strict=True)
    return drawing([Series(xs, ys), Series(xs[-1:], ys[-1:], kind="points")], name, marks=marks)


def drawing(
    series: Sequence[Series],
    name: str,
    *,
    marks: Sequence[Mark] = (),
    level: float | None = None,
    below: str = "update",
    size: tuple[float, float] = SIZE,
    span: tuple[float, float] | None = None,
) -> str:
    """An SVG element that draws all of the series over one another.

    Args:
        name: an identifier that no other drawing has.
        level: a thin line across, what values are compared with.
        below: what is counted on the axis below, in the page's own words.
        span: lowest and highest value of the axis at the side.
    """
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=size, facecolor="none")
        axes = figure.subplots()
        if level is not None:
            axes.axhline(level, color=LABELS, linewidth=0.8, linestyle=(0, (1, 2)))
        for mark in marks:
            dashes = "solid" if mark.whole else (0, (3, 2))
            axes.axvline(mark.x, color=TONES[mark.tone], linewidth=1.2, linestyle=dashes)
        for own in series:
            _plot(axes, own)
        axes.set_ylim(span if span is not None else _span(axes, [y for own in series for y in own.y]))
        _dress(axes, below)
        width, height = size
        numbers = axes.yaxis.get_major_formatter().format_ticks(list(axes.yaxis.get_majorticklocs()))
        left = 0.54 + 0.075 * max(0, max(map(len, numbers), default=0) - 6)  # inches; long numbers take more
        figure.subplots_adjust(left=left / width, right=1 - 0.1 / width, top=1 - 0.18 / height, bottom=0.45 / height)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata=NO_METADATA)
    return _fit(written.getvalue(), name)


def reliability_svg(series: Sequence[Series], name: str) -> str:
    """A reliability diagram: what was said on the axis below, what came true at the side, and the diagonal on which
    both are the same."""
    ends = (0.5, 1.0)
    diagonal = Series(ends, ends, tone="muted", kind="dashed")
    values = [y for own in series for y in own.y]
    low = min([0.5, *values]) - 0.02
    return drawing([diagonal, *series], name, below="probability of its side", size=SQUARE, span=(low, 1.02))


def _span(axes: Axes, values: Sequence[float]) -> tuple[float, float]:
    """The axis that matplotlib would take, but without room where no share and no count can be; of a share that never
    moves, all of it."""
    if values and 0 <= min(values) == max(values) <= 1:
        return -0.03, 1.03
    low, high = axes.get_ylim()
    edge = 0.02 * (high - low)
    if low < 0 <= min(values, default=-1.0):
        low = -edge
    if high > 1 >= max(values, default=2.0):
        high = 1 + edge
    return low, high


def _plot(axes: Axes, own: Series) -> None:
    colour = TONES[own.tone]
    if own.low is not None and own.high is not None:
        axes.vlines(own.x, own.low, own.high, color=colour, linewidth=1.0, alpha=0.55)
    if own.kind == "points":
        axes.plot(own.x, own.y, color=colour, linestyle="none", marker="o", markersize=3.5)
    else:
        dashes = "solid" if own.kind == "line" else (0, (4, 2))
        axes.plot(own.x, own.y, color=colour, linewidth=1.4, linestyle=dashes)


def thin(points: list[tuple[int, float]], limit: int = MAX_POINTS) -> list[tuple[int, float]]:
    """At most `limit` of the points: the lowest and the highest of equal stretches, so that no spike is lost."""
    if len(points) <= limit:
        return points
    count = limit // 2 - 1  # two points each, and the first and the last point
    kept = {0, len(points) - 1}
    for part in range(count):
        stretch = range(part * len(points) // count, (part + 1) * len(points) // count)
        kept.add(min(stretch, key=lambda i: points[i][1]))
        kept.add(max(stretch, key=lambda i: points[i][1]))
    return [points[i] for i in sorted(kept)]


def _dress(axes: Axes, below: str) -> None:
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelcolor=LABELS, bottom=False, left=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=below == "update"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    numbers = ScalarFormatter(useOffset=False)
    numbers.set_powerlimits((-3, 4))  # past that a power of ten stands above the axis
    axes.yaxis.set_major_formatter(numbers)
    axes.yaxis.offsetText.set_color(LABELS)
    axes.set_xlabel(below, color=LABELS, labelpad=2)


def _fit(drawing: str, name: str) -> str:
    """The drawing as an element of an HTML page: no style, no fixed colour or size, no identifier but its own."""
    root = ElementTree.fromstring(drawing)
    sheet = root.find(".//{*}style")
    for parent in list(root.iter()):
        if sheet is not None and sheet in parent:
            parent.remove(sheet)
    referred = set(re.findall(r'(?:href="|url\()#(\w+)', drawing))
    for element in root.iter():
        element.tag = NAMESPACES.sub("", element.tag)
        attributes = {NAMESPACES.sub("", key): value for key, value in element.attrib.items()}
        attributes |= _declarations(attributes.pop("style", ""))
        if attributes.get("id") not in referred:
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib.update({key: _value(key, value, name) for key, value in attributes.items()})
    size = root.attrib["viewBox"]
    root.attrib.clear()
    # matplotlib's style sheet, left out above, rounds all joins.
    root.attrib.update({"viewBox": size, "role": "img", "aria-label": "curve", "stroke-linejoin": "round"})
    return ElementTree.tostring(root, encoding="unicode")


def _declarations(text: str) -> dict[str, str]:
    """CSS declarations as presentation attributes; the font family is left to the page."""
    pairs = (part.split(":", 1) for part in text.split(";") if ":" in part)
    return {key.strip(): value.strip() for key, value in pairs if key.strip() != "font-family"}


def _value(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key in ("href", "clip-path"):
        return value.replace("#", f"#{name}-")
    short = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number.group()):.2f}", VARIABLES.get(value, value))
    return " ".join(short.split())
