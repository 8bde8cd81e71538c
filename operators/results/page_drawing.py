"""What the panels of the summary page are drawn with: text, rules, titles, axes, keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.results.display_plane import DisplayPlane
from operators.results.page_layout import PAGE_HEIGHT, PAGE_WIDTH, Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = "#f2f4f7"
QUIET = "#9aa5b4"
SMALL = 6.5  # points
_RULE = "#2b323c"


def draw_text(figure: Figure, left: float, bottom: float, text: str, **style: Any) -> None:
    """A line of text at inches from the lower left corner."""
    style = {"color": TEXT, "va": "baseline", "fontsize": 7.5, **style}
    figure.text(left / PAGE_WIDTH, bottom / PAGE_HEIGHT, text, **style)


def draw_rule(figure: Figure, left: float, right: float, height: float) -> None:
    """A horizontal rule across the page, inches."""
    from matplotlib.lines import Line2D

    figure.add_artist(
        Line2D(
            [left / PAGE_WIDTH, right / PAGE_WIDTH],
            [height / PAGE_HEIGHT] * 2,
            color=_RULE,
            linewidth=0.8,
        )
    )


def slice_axes(figure: Figure, box: Box) -> Axes:
    """Black axes without ticks, for one picture."""
    axes = figure.add_axes(box.fraction())
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def draw_title(figure: Figure, box: Box, label: str, unit: str, meaning: str) -> None:
    """Label and unit of a panel, and below what the label means."""
    draw_text(figure, box.left, box.bottom + 0.2, label, fontsize=10.5, weight="bold")
    draw_text(figure, box.right, box.bottom + 0.2, unit, fontsize=7.5, color=QUIET, ha="right")
    if meaning != label:
        size = fitting_size(meaning, box.width)
        draw_text(figure, box.left, box.bottom + 0.055, meaning, fontsize=size, color=QUIET)


def fitting_size(text: str, width: float) -> float:
    """Largest size up to 6.5 points at which ``text`` is no wider than ``width`` inches."""
    from matplotlib.textpath import TextPath

    points = TextPath((0, 0), text, size=SMALL).get_extents().width
    return min(SMALL, SMALL * width * 72 / max(points, 1.0))


def draw_sides(axes: Axes, plane: DisplayPlane, first: bool, last: bool) -> None:
    """Letters of the patient's sides at the edges of the first and the last picture."""
    from matplotlib.patheffects import withStroke

    style: dict[str, Any] = {
        "transform": axes.transAxes,
        "color": "white",
        "fontsize": 7,
        "va": "center",
        "path_effects": [withStroke(linewidth=1.2, foreground="black")],
    }
    if first:
        axes.text(0.02, 0.5, plane.left, ha="left", **style)
    if last:
        axes.text(0.98, 0.5, plane.right, ha="right", **style)


def draw_direction_key(figure: Figure, box: Box, plane: DisplayPlane) -> None:
    """A ball whose surface has the colour of the direction in which it faces."""
    size = 0.42
    axes = figure.add_axes(Box(box.left, box.top - size, size, size).fraction())
    axes.set_axis_off()
    across, down = np.meshgrid(np.linspace(-1, 1, 201), np.linspace(-1, 1, 201))
    radius = np.hypot(across, down)
    towards = np.sqrt(np.clip(1 - radius**2, 0, None))
    colours = np.abs(np.stack([across, down, towards], -1)) @ plane.axes()
    opacity = np.clip((1 - radius) * 60, 0, 1)
    axes.imshow(np.dstack([np.clip(colours, 0, 1), opacity]), interpolation="bilinear")
    names = (("R-L", "#ff5a4f"), ("A-P", "#4fd66b"), ("H-F", "#5b8cff"))
    for line, (name, colour) in enumerate(names, start=1):
        height = box.top - size - 0.03 - 0.14 * line
        draw_text(figure, box.left, height, name, fontsize=SMALL, color=colour, weight="bold")
