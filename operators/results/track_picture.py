"""The panel of tracks on the summary page: seen from three sides, coloured by direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.results.display_plane import DisplayPlane
from operators.results.page_drawing import (
    QUIET,
    draw_direction_key,
    draw_text,
    draw_title,
    fitting_size,
    slice_axes,
)
from operators.results.page_layout import Box, PanelBoxes
from operators.results.track_colour import direction_colours
from operators.vocabulary.tracts import TrackSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Tracks that are drawn; more would only cover each other.
MOST_DRAWN = 2000
# Every so many points of a track one is drawn: a line of a pixel hides the rest.
_THINNING = 4
_MARGIN = 1.04
_LINE_WIDTH = 0.12  # points in a picture of one inch


@dataclass(frozen=True)
class _View:
    """A side to look from: patient directions (LPS) of right, up and towards the eye."""

    right: tuple[int, int, int]
    up: tuple[int, int, int]
    towards: tuple[int, int, int]
    letters: str


# Radiological convention: from the feet, from the front, from the left.
_VIEWS = (
    _View((1, 0, 0), (0, -1, 0), (0, 0, -1), "RL"),
    _View((1, 0, 0), (0, 0, 1), (0, -1, 0), "RL"),
    _View((0, 1, 0), (0, 0, 1), (1, 0, 0), "AP"),
)


def draw_tracks(figure: Figure, boxes: PanelBoxes, tracks: TrackSet, plane: DisplayPlane) -> None:
    """Draws tracks through the whole field, one view a picture, nearest on top.

    Args:
        figure: the page.
        boxes: of the panel; as many views as it has pictures.
        tracks: what to draw; no more than `MOST_DRAWN`, evenly taken from all.
        plane: of the page, for the key of the colours.
    """
    step = -(-len(tracks) // MOST_DRAWN)
    drawn = tracks.tracks()[::step]
    shown = "" if step == 1 else f", {len(drawn)} shown"
    draw_title(figure, boxes.title, "Tracts", "", f"{len(tracks)} tracks by direction{shown}")
    lines, colours = _pieces(drawn)
    for view, box in zip(_VIEWS, boxes.slices, strict=False):
        _draw_view(slice_axes(figure, box), box, lines, colours, view)
    draw_direction_key(figure, boxes.scale, plane)
    lengths = tracks.lengths()
    text = (
        f"length {lengths.mean():.0f} ± {lengths.std():.0f} mm, "
        f"FA along tracks {tracks.anisotropy.mean():.2f}"
    )
    box = boxes.statistics
    size = fitting_size(text, box.width)
    draw_text(figure, box.left, box.top - 0.135, text, fontsize=size, color=QUIET)


def _pieces(tracks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Short straight pieces of all tracks, (pieces, 2, 3) mm, and their colours 0 to 1."""
    pieces = []
    for points in tracks:
        kept = points[np.unique(np.append(np.arange(0, len(points), _THINNING), len(points) - 1))]
        pieces.append(np.stack((kept[:-1], kept[1:]), axis=1))
    lines = np.concatenate(pieces)
    return lines, direction_colours(lines[:, 1] - lines[:, 0]) / 255


def _draw_view(axes: Axes, box: Box, lines: np.ndarray, colours: np.ndarray, view: _View) -> None:
    from matplotlib.collections import LineCollection

    flat = lines @ np.array([view.right, view.up], float).T
    order = np.argsort(lines.mean(axis=1) @ np.array(view.towards, float), kind="stable")
    axes.add_collection(
        # As pixels in the page's PDF too: as lines they would weigh megabytes.
        LineCollection(
            flat[order],
            colors=colours[order],
            linewidths=max(0.12, _LINE_WIDTH * box.width),
            alpha=0.55,
            rasterized=True,
        )
    )
    low, high = flat.min(axis=(0, 1)), flat.max(axis=(0, 1))
    middle, size = (low + high) / 2, (high - low) * _MARGIN
    scale = max(size[0] / box.width, size[1] / box.height, 1e-6)
    axes.set_xlim(middle[0] - scale * box.width / 2, middle[0] + scale * box.width / 2)
    axes.set_ylim(middle[1] - scale * box.height / 2, middle[1] + scale * box.height / 2)
    for place, letter, side in ((0.02, view.letters[0], "left"), (0.98, view.letters[1], "right")):
        axes.text(
            place, 0.5, letter, transform=axes.transAxes, color="white", fontsize=7, ha=side,
            va="center",
        )  # fmt: skip
