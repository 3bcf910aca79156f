"""Training curves as small SVG drawings that stand inside the page.

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
from xml.etree import ElementTree

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

SIZE = (3.4, 1.8)  # inches
MAX_POINTS = 400  # about two a pixel at the width that the page gives a drawing
SETTINGS = {"svg.hashsalt": "rlaif", "svg.fonttype": "none", "font.size": 8.5}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
# Stand-ins that matplotlib accepts as colours, and the page's variables that they become.
LINE, LABELS, GRID = "#000001", "#000002", "#000003"
VARIABLES = {LINE: "var(--accent)", LABELS: "var(--muted)", GRID: "var(--line)"}
NAMESPACES = re.compile(r"^\{http://www\.w3\.org/(?:2000/svg|1999/xlink)\}")


def curve_svg(steps: Sequence[int], values: Sequence[float], name: str) -> str:
    """An SVG element that draws `values` over `steps`; `name` is an identifier that no other drawing has.

    Raises:
        ValueError: there is nothing to draw, or not one value for every step.
    """
    if not steps or len(steps) != len(values):
        raise ValueError(f"{len(steps)} steps and {len(values)} values make no curve")
    points = thin(list(zip(steps, values, strict=True)))
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=SIZE, facecolor="none")
        axes = figure.subplots()
        axes.plot([x for x, _ in points], [y for _, y in points], color=LINE, linewidth=1.4)
        axes.plot(*points[-1], color=LINE, marker="o", markersize=3.5)
        _dress(axes)
        figure.subplots_adjust(left=0.16, right=0.97, top=0.9, bottom=0.25)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata=NO_METADATA)
    return _fit(drawing.getvalue(), name)


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


def _dress(axes: Axes) -> None:
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelcolor=LABELS, bottom=False, left=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    numbers = ScalarFormatter(useOffset=False)
    numbers.set_powerlimits((-3, 4))  # past that a power of ten stands above the axis
    axes.yaxis.set_major_formatter(numbers)
    axes.yaxis.offsetText.set_color(LABELS)
    axes.set_xlabel("update", color=LABELS, labelpad=2)


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
