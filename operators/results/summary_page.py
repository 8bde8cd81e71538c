"""The summary page: central slices of every map, quality findings, and who made them."""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.results.colour_scale import colour_map, shown_label, shown_number, shown_unit
from operators.results.display_plane import DisplayPlane, analysed_voxels, display_plane
from operators.results.page_drawing import (
    QUIET,
    SMALL,
    draw_direction_key,
    draw_rule,
    draw_sides,
    draw_text,
    draw_title,
    fitting_size,
    slice_axes,
)
from operators.results.page_layout import PAGE_HEIGHT, PAGE_WIDTH, Box, PanelBoxes, lay_out
from operators.results.series_plan import ResultPlan
from operators.results.shown_maps import computed_voxels, shown_maps
from operators.results.track_picture import draw_tracks
from operators.results.value_window import display_window
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QuantityMap
from operators.vocabulary.result import ColourMap, Measurement, PipelineResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "#0e1116"
_SEVERITY_COLOURS = {
    Severity.INFORMATION: "#56b4e9",
    Severity.WARNING: "#f0b429",
    Severity.ERROR: "#ff6b5e",
}
_SEVERITY_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFORMATION)
STYLE: Any = {"font.family": "DejaVu Sans", "pdf.fonttype": 42, "mathtext.fontset": "dejavusans"}
_PICTURE_DPI = 200
_LINE = 0.158  # inches between lines of small text
_FINDING_CHARACTERS = 100
_PROVENANCE_CHARACTERS = 64
_MOST_FINDING_LINES = 7
_MOST_SEGMENTS = 3


@dataclass(frozen=True)
class SummaryPage:
    """One page in both forms."""

    png: bytes
    pdf: bytes


def summary_page(plan: ResultPlan) -> SummaryPage:
    """Draws the page of one result, as PNG and as PDF.

    It names no patient. Voxels that no map analysed are black. Pictures are smoothed between
    voxels for display only.

    Raises:
        ValueError: the result has no map.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PAGE_WIDTH, PAGE_HEIGHT), facecolor=PAPER)
        _draw(figure, plan)
        return SummaryPage(
            png=rendered(figure, "png", {"Software": None}),
            pdf=rendered(figure, "pdf", {"CreationDate": None, "Producer": None}),
        )


def rendered(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    """The page as a file of one kind."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=_PICTURE_DPI, facecolor=PAPER, metadata=metadata)
    return buffer.getvalue()


def _draw(figure: Figure, plan: ResultPlan) -> None:
    result = plan.result
    if not result.maps:
        raise ValueError("a result without maps has no summary page")
    measurements = _shown_measurements(plan)
    findings = finding_lines(result.findings)
    provenance = provenance_lines(plan)
    analysed = analysed_voxels(result.maps)
    shown = shown_maps(result.maps)
    layout = lay_out(
        panels=len(shown) + len(result.colour_maps) + (result.tracks is not None),
        slice_aspect=display_plane(analysed, 1).aspect,
        statistics_lines=max((len(lines) for lines in measurements.values()), default=0),
        footer_height=0.34 + _LINE * max(len(findings), len(provenance)),
    )
    plane = display_plane(analysed, len(layout.panels[0].slices))
    draw_header(figure, layout.header, result, plane)
    panels = iter(layout.panels)
    for quantity_map in _foremost(shown, result.colour_maps):
        boxes = next(panels)
        if isinstance(quantity_map, ColourMap):
            _draw_colour_panel(figure, boxes, quantity_map, plane)
        else:
            name = quantity_map.quantity.name
            mask = plane.pictures(computed_voxels(quantity_map, result.maps))
            _draw_map_panel(figure, boxes, quantity_map, plane, mask)
            _draw_lines(figure, boxes.statistics, measurements.get(name, ()))
    if result.tracks is not None:
        draw_tracks(figure, next(panels), result.tracks, plane)
    draw_footer(figure, layout.footer, findings, provenance)


def _foremost(
    maps: tuple[QuantityMap, ...], colour_maps: tuple[ColourMap, ...]
) -> list[QuantityMap | ColourMap]:
    """Colour maps stand behind the map that they colour, fractional anisotropy, or last."""
    ordered: list[QuantityMap | ColourMap] = []
    waiting = list(colour_maps)
    for quantity_map in maps:
        ordered.append(quantity_map)
        if quantity_map.quantity.name == "fractional_anisotropy":
            ordered.extend(waiting)
            waiting = []
    return [*ordered, *waiting]


def draw_header(figure: Figure, box: Box, result: PipelineResult, plane: DisplayPlane) -> None:
    """Algorithm, series, grid and plane."""
    number = result.source.series_number
    series = "an unnumbered series" if number is None else f"series {number}"
    rows, columns = result.maps[0].volume.spatial_shape[1:]
    draw_text(figure, box.left, box.bottom + 0.3, result.algorithm.name, fontsize=17, weight="bold")
    draw_text(
        figure,
        box.left,
        box.bottom + 0.11,
        f"from {series}  ·  {len(result.source.images)} images  ·  "
        f"grid {columns} × {rows} × {result.maps[0].volume.spatial_shape[0]}  ·  "
        + " × ".join(f"{s:.3g}" for s in result.maps[0].volume.spacing[::-1])
        + " mm",
        color=QUIET,
        fontsize=8,
    )
    draw_text(
        figure,
        box.right,
        box.bottom + 0.3,
        f"{plane.name.capitalize()}, central slice{'s' if len(plane.slices) > 1 else ''}",
        ha="right",
        fontsize=9,
    )
    draw_text(
        figure,
        box.right,
        box.bottom + 0.11,
        f"image left is the patient's {_side(plane.left)}  ·  for research use",
        ha="right",
        color=QUIET,
        fontsize=8,
    )
    draw_rule(figure, box.left, box.right, box.bottom)


def _side(letter: str) -> str:
    names = {"R": "right", "L": "left", "A": "front", "P": "back", "H": "head", "F": "feet"}
    return names[letter]


def _draw_map_panel(
    figure: Figure,
    boxes: PanelBoxes,
    quantity_map: QuantityMap,
    plane: DisplayPlane,
    mask: list[np.ndarray],
) -> None:
    from matplotlib.colors import Normalize

    quantity = quantity_map.quantity
    window = display_window(quantity_map)
    colours = colour_map(quantity, window)
    scale = Normalize(*window, clip=True)
    _, unit = shown_unit(quantity)
    draw_title(figure, boxes.title, shown_label(quantity.label), unit, quantity.code.meaning)
    pictures = plane.pictures(quantity_map.volume)
    for number, (box, values, inside) in enumerate(zip(boxes.slices, pictures, mask, strict=False)):
        axes = slice_axes(figure, box)
        picture = colours(scale(values))
        picture[~inside] = (0, 0, 0, 1)
        axes.imshow(picture, aspect="auto", interpolation="bicubic", interpolation_stage="rgba")
        draw_sides(axes, plane, number == 0, number == len(pictures) - 1)
    _draw_scale(figure, boxes.scale, quantity_map, window)


def _draw_scale(
    figure: Figure, box: Box, quantity_map: QuantityMap, window: tuple[float, float]
) -> None:
    from matplotlib.ticker import MaxNLocator

    quantity = quantity_map.quantity
    factor, _ = shown_unit(quantity)
    axes = figure.add_axes(box.fraction())
    low, high = window[0] * factor, window[1] * factor
    ramp = np.linspace(0, 1, 256)[:, None]
    axes.imshow(
        colour_map(quantity, window)(ramp),
        origin="lower",
        aspect="auto",
        extent=(0, 1, low, high),
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_ylim(low, high)
    axes.tick_params(axis="y", labelsize=SMALL, colors=QUIET, length=2, width=0.5, pad=1.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_colour_panel(
    figure: Figure, boxes: PanelBoxes, colours: ColourMap, plane: DisplayPlane
) -> None:
    draw_title(figure, boxes.title, colours.label, "", "Direction of the principal axis")
    pictures = plane.pictures(colours.volume)
    for number, (box, picture) in enumerate(zip(boxes.slices, pictures, strict=False)):
        axes = slice_axes(figure, box)
        axes.imshow(picture, aspect="auto", interpolation="bicubic")
        draw_sides(axes, plane, number == 0, number == len(pictures) - 1)
    draw_direction_key(figure, boxes.scale, plane)


def _shown_measurements(plan: ResultPlan) -> dict[str, list[str]]:
    """Lines of text below each map, by quantity: one per segment, the first three.

    Segments that came with the study are in the report alone: their labels may hold anything,
    a name too.
    """
    drawn = {segment.name for segment in plan.result.segments if segment.maker is not None}
    beside = {pair.reference for pair in plan.result.pairs if pair.segment in drawn}
    lines: dict[str, list[str]] = {}
    maps = {quantity_map.quantity.name: quantity_map for quantity_map in plan.result.maps}
    for measurement in plan.measurements:
        shown = lines.setdefault(measurement.quantity, [])
        if len(shown) < _MOST_SEGMENTS and measurement.segment not in drawn | beside:
            shown.append(_measurement_text(measurement, maps[measurement.quantity]))
    return lines


def _measurement_text(measurement: Measurement, quantity_map: QuantityMap) -> str:
    factor, _ = shown_unit(quantity_map.quantity)
    largest = max(abs(limit) for limit in display_window(quantity_map)) * factor
    mean, deviation, low, high = (
        shown_number(value * factor, largest)
        for value in (
            measurement.mean,
            measurement.standard_deviation,
            measurement.percentile_5,
            measurement.percentile_95,
        )
    )
    return f"{measurement.segment}  {mean} ± {deviation}  [{low}, {high}]"


def _draw_lines(figure: Figure, box: Box, lines: list[str] | tuple[str, ...]) -> None:
    for number, line in enumerate(lines, start=1):
        size = fitting_size(line, box.width)
        draw_text(figure, box.left, box.top - 0.135 * number, line, fontsize=size, color=QUIET)


def finding_lines(findings: tuple[Finding, ...]) -> list[tuple[Severity | None, str]]:
    """Wrapped lines, gravest first; the severity stands in the first line of each."""
    ordered = sorted(findings, key=lambda finding: _SEVERITY_ORDER.index(finding.severity))
    lines: list[tuple[Severity | None, str]] = []
    for shown, finding in enumerate(ordered):
        wrapped = textwrap.wrap(finding.message, _FINDING_CHARACTERS)[: _MOST_FINDING_LINES - 1]
        left = len(ordered) - shown
        if len(lines) + len(wrapped) + (left > 1) > _MOST_FINDING_LINES:
            return [*lines, (None, f"… and {left} more in result.json and in the report")]
        lines += [(finding.severity if n == 0 else None, text) for n, text in enumerate(wrapped)]
    return lines or [(Severity.INFORMATION, "None.")]


def provenance_lines(plan: ResultPlan) -> list[tuple[str, str]]:
    """Wrapped lines (name, text); the name stands in the first line of each."""
    algorithm = plan.result.algorithm
    settings = ", ".join(f"{k} {v}" for k, v in sorted(algorithm.configuration.items()))
    facts = [
        ("Version", f"{algorithm.version}, made {plan.created:%Y-%m-%d %H:%M}"),
        ("Method", algorithm.source),
        ("Computed on", algorithm.execution_provider),
        ("Settings", settings or "defaults"),
    ]
    for file_name, digest in sorted(algorithm.model_sha256.items())[:3]:
        facts.append(("Network", f"{file_name}  sha256 {digest[:16]}…"))
    lines = []
    for name, text in facts:
        wrapped = textwrap.wrap(text, _PROVENANCE_CHARACTERS, max_lines=2, placeholder=" …")
        lines += [(name if n == 0 else "", part) for n, part in enumerate(wrapped)]
    return lines


def draw_footer(
    figure: Figure,
    box: Box,
    findings: list[tuple[Severity | None, str]],
    provenance: list[tuple[str, str]],
    legend: str = "below each map: mean ± SD  [5th, 95th percentile]",
) -> None:
    """Findings on the left, provenance on the right."""
    middle = box.left + 0.58 * box.width
    draw_rule(figure, box.left, box.right, box.top)
    heading = box.top - 0.2
    draw_text(figure, box.left, heading, "Quality findings", fontsize=8, weight="bold")
    draw_text(figure, middle, heading, "Provenance", fontsize=8, weight="bold")
    for number, (severity, text) in enumerate(findings, start=1):
        height = heading - _LINE * number
        if severity is not None:
            draw_text(figure, box.left, height, "●", color=_SEVERITY_COLOURS[severity])
        draw_text(figure, box.left + 0.15, height, text)
    for number, (name, text) in enumerate(provenance, start=1):
        height = heading - _LINE * number
        draw_text(figure, middle, height, name, color=QUIET)
        draw_text(figure, middle + 0.85, height, text)
    draw_text(
        figure,
        box.right,
        heading,
        legend,
        ha="right",
        color=QUIET,
        fontsize=SMALL,
    )
