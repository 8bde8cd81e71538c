"""The page of a result that is a finer version of maps: both side by side, and what to doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom as hd
import numpy as np

from operators.results.colour_scale import colour_map, shown_label, shown_unit
from operators.results.display_plane import DisplayPlane, analysed_voxels, display_plane
from operators.results.page_drawing import (
    QUIET,
    SMALL,
    TEXT,
    draw_rule,
    draw_sides,
    draw_text,
    fitting_size,
    slice_axes,
)
from operators.results.page_layout import MARGIN, PAGE_HEIGHT, PAGE_WIDTH, Box
from operators.results.series_plan import ResultPlan
from operators.results.summary_page import (
    PAPER,
    STYLE,
    SummaryPage,
    draw_footer,
    draw_header,
    finding_lines,
    provenance_lines,
    rendered,
)
from operators.results.value_window import display_window
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.synthetic_image import SyntheticImage
from operators.vocabulary.tissue import TissueValue

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER, _GAP, _TITLE, _SCALE = 0.78, 0.16, 0.24, 0.5
_ROWS, _COLUMNS = 3, 4
_LABEL = 1.45
"""Width of a label, inches."""
_LINE = 0.158
_TISSUE_COLUMNS = (0.0, 0.31, 0.67)
"""Where PD, T1 and T2 of a tissue stand, as shares of the width."""
_UNUSUAL = "#f0b429"
_SMALL_NUMBER = 10
_BRIGHT_PERCENTILE = 99.5


def comparison_page(plan: ResultPlan) -> SummaryPage:
    """Draws the page of one result that has measured maps, as PNG and as PDF.

    Left, each measured map beside its finer version in one window; right, synthetic images,
    residuals, and medians of tissues beside usual values. It names no patient.

    Raises:
        ValueError: the result has no measured map.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not plan.result.measured_maps:
        raise ValueError("a result without measured maps has nothing to compare")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE_WIDTH, PAGE_HEIGHT), facecolor=PAPER)
        _draw(figure, plan)
        return SummaryPage(
            png=rendered(figure, "png", {"Software": None}),
            pdf=rendered(figure, "pdf", {"CreationDate": None, "Producer": None}),
        )


def _draw(figure: Figure, plan: ResultPlan) -> None:
    result = plan.result
    measured = {one.quantity.name: one for one in result.measured_maps}
    finer = {one.quantity.name: one for one in result.maps}
    analysed = analysed_voxels([finer[name] for name in measured])
    plane = display_plane(analysed, 1)
    inside = plane.pictures(analysed)[0]
    findings, provenance = finding_lines(result.findings), provenance_lines(plan)
    height = 0.34 + _LINE * max(len(findings), len(provenance))
    footer = Box(MARGIN, MARGIN * 0.75, PAGE_WIDTH - 2 * MARGIN, height)
    header = Box(MARGIN, PAGE_HEIGHT - _HEADER, PAGE_WIDTH - 2 * MARGIN, _HEADER)
    draw_header(figure, header, result, plane)
    cells = _cells(Box(MARGIN, footer.top + _GAP, header.width, header.bottom - footer.top - _GAP))
    geometry = analysed.get_geometry()
    for row, (name, coarse) in enumerate(measured.items()):
        window = display_window(finer[name])
        values = plane.pictures(nearest_on(coarse.volume, geometry))[0]
        spacing = " × ".join(f"{s:.2g}" for s in coarse.volume.spacing[::-1])
        label = f"measured, {spacing} mm"
        _draw_map(figure, cells[row][0], coarse, values, inside, plane, window, label)
        values = plane.pictures(finer[name].volume)[0]
        spacing = " × ".join(f"{s:.2g}" for s in geometry.spacing[::-1])
        label = f"super-resolved, {spacing} mm"
        _draw_map(figure, cells[row][1], finer[name], values, inside, plane, window, label)
    free = [cells[row][column] for row in range(_ROWS) for column in (2, 3)]
    table = free.pop()
    others = [one for one in result.maps if one.quantity.name not in measured]
    shown = _most_telling(others, result.synthetic_images, len(free))
    for cell, one in zip(free, shown, strict=False):
        if isinstance(one, SyntheticImage):
            _draw_synthetic(figure, cell, one, plane, inside)
        else:
            values = plane.pictures(one.volume)[0]
            _draw_map(figure, cell, one, values, inside, plane, display_window(one), "")
    _draw_tissues(figure, table, plan)
    draw_footer(figure, footer, findings, provenance, legend="")


def _most_telling(
    maps: list[QuantityMap], images: tuple[SyntheticImage, ...], places: int
) -> list[QuantityMap | SyntheticImage]:
    """One synthetic image, the last of them, before the maps of residuals."""
    residuals = ("t1w_residual", "t2w_residual", "map_consistency", "disagreement")
    # Rates, where they were asked for, come last.
    ordered = sorted(maps, key=lambda one: one.quantity.name not in residuals)
    chosen: list[QuantityMap | SyntheticImage] = [*images[-1:], *ordered]
    return chosen[:places]


def _cells(area: Box) -> list[list[Box]]:
    width = (area.width - (_COLUMNS - 1) * _GAP) / _COLUMNS
    height = (area.height - (_ROWS - 1) * 0.06) / _ROWS
    return [
        [
            Box(
                area.left + column * (width + _GAP),
                area.top - (row + 1) * height - row * 0.06,
                width,
                height,
            )
            for column in range(_COLUMNS)
        ]
        for row in range(_ROWS)
    ]


def _picture_box(cell: Box, aspect: float) -> Box:
    tall = min(cell.height - _TITLE, (cell.width - _SCALE) / aspect)
    return Box(cell.left, cell.top - _TITLE - tall, tall * aspect, tall)


def _draw_heading(figure: Figure, cell: Box, label: str, remark: str) -> None:
    height = cell.top - _TITLE + 0.06
    draw_text(figure, cell.left, height, label, fontsize=9, weight="bold")
    if not remark:
        return
    size = fitting_size(remark, cell.width - _LABEL)
    draw_text(figure, cell.right, height, remark, fontsize=size, color=QUIET, ha="right")


def _draw_map(
    figure: Figure,
    cell: Box,
    quantity_map: QuantityMap,
    values: np.ndarray,
    inside: np.ndarray,
    plane: DisplayPlane,
    window: tuple[float, float],
    remark: str,
) -> None:
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    quantity = quantity_map.quantity
    factor, unit = shown_unit(quantity)
    box = _picture_box(cell, plane.aspect)
    colours = colour_map(quantity, window)
    # Residuals without a unit count standard deviations.
    unit = unit or ("" if remark else "SD")
    label = shown_label(quantity.label) + (f" ({unit})" if unit else "")
    _draw_heading(figure, cell, label, remark)
    axes = slice_axes(figure, box)
    picture = colours(Normalize(*window, clip=True)(values))
    picture[~inside] = (0, 0, 0, 1)
    axes.imshow(picture, aspect="auto", interpolation="nearest")
    draw_sides(axes, plane, True, True)
    scale = figure.add_axes(Box(box.right + 0.06, box.bottom, 0.08, box.height).fraction())
    low, high = window[0] * factor, window[1] * factor
    ramp = colours(np.linspace(0, 1, 256)[:, None])
    scale.imshow(ramp, origin="lower", aspect="auto", extent=(0, 1, low, high))
    scale.set_xticks([])
    scale.yaxis.tick_right()
    scale.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    scale.tick_params(axis="y", labelsize=6, colors=QUIET, length=2, width=0.5, pad=1.5)
    for spine in scale.spines.values():
        spine.set_visible(False)


def _draw_synthetic(
    figure: Figure, cell: Box, image: SyntheticImage, plane: DisplayPlane, inside: np.ndarray
) -> None:
    box = _picture_box(cell, plane.aspect)
    _draw_heading(figure, cell, f"{image.label} synthetic", image.parameters)
    values = plane.pictures(image.volume)[0]
    signals = image.volume.array[image.volume.array > 0]
    high = float(np.percentile(signals, _BRIGHT_PERCENTILE)) if signals.size else 1.0
    axes = slice_axes(figure, box)
    shown = np.where(inside, values, 0)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=high, aspect="auto", interpolation="bicubic")
    draw_sides(axes, plane, True, True)


def _draw_tissues(figure: Figure, cell: Box, plan: ResultPlan) -> None:
    """Medians beside usual values, and what the tissues add up to."""
    result = plan.result
    top = cell.top - _TITLE + 0.06
    draw_text(figure, cell.left, top, "Tissues", fontsize=9, weight="bold")
    draw_text(
        figure, cell.right, top, "median [usual at 3 T]", fontsize=SMALL, color=QUIET, ha="right"
    )
    if not result.tissue_values:
        draw_text(figure, cell.left, top - 0.2, "were not told apart", color=QUIET)
        return
    draw_rule(figure, cell.left, cell.right, top - 0.05)
    height = top - 0.2
    volumes = {one.name: one.millilitres for one in result.fractions}
    named: dict[str, list[TissueValue]] = {}
    for one in result.tissue_values:
        named.setdefault(one.tissue, []).append(one)
    for tissue, values in named.items():
        text = f"{tissue}, {volumes[tissue]:.0f} ml" if tissue in volumes else tissue
        draw_text(figure, cell.left, height, text, fontsize=7)
        for number, value in enumerate(values):
            draw_text(
                figure,
                cell.left + _TISSUE_COLUMNS[number % len(_TISSUE_COLUMNS)] * cell.width,
                height - 0.13,
                _median_text(value),
                fontsize=5.6,
                color=TEXT if value.usual else _UNUSUAL,
            )
        height -= 0.34
    for total in result.region_values:
        if total.segment == "Brain":
            text = f"{total.name.meaning}: {total.value:.4g} {total.unit.value}"
            size = fitting_size(text, cell.width)
            draw_text(figure, cell.left, height + 0.02, text, fontsize=size, color=QUIET)
            height -= 0.14


def _median_text(one: TissueValue) -> str:
    quantity = QUANTITIES[one.quantity]
    median = f"{one.median:.2f}" if one.high < _SMALL_NUMBER else f"{one.median:.0f}"
    return f"{quantity.label} {median} [{one.low:g}-{one.high:g}]"


def nearest_on(volume: hd.Volume, geometry: hd.VolumeGeometry) -> hd.Volume:
    """A volume on a finer grid with parallel axes, each voxel as the one that holds its centre."""
    to_coarse = np.linalg.inv(volume.affine) @ geometry.affine
    array = volume.array
    for axis, samples in enumerate(geometry.spatial_shape):
        place = to_coarse[axis, axis] * np.arange(samples) + to_coarse[axis, 3]
        index = np.clip(np.rint(place).astype(int), 0, array.shape[axis] - 1)
        array = array.take(index, axis)
    return geometry.with_array(array)
