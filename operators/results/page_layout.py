"""Where everything stands on the summary page, in inches from the lower left corner."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_WIDTH, PAGE_HEIGHT = 11.69, 8.27  # A4, landscape
MARGIN = 0.42
_HEADER = 0.78
_GAP = 0.18
_TITLE = 0.36
_SCALE_WIDTH = 0.62
_LINE = 0.135
_MOST_SLICES = 3


@dataclass(frozen=True)
class Box:
    """A rectangle: left, bottom, width, height (inches)."""

    left: float
    bottom: float
    width: float
    height: float

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.bottom + self.height

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    def fraction(self) -> tuple[float, float, float, float]:
        """The same in fractions of the page, as matplotlib counts."""
        return (
            self.left / PAGE_WIDTH,
            self.bottom / PAGE_HEIGHT,
            self.width / PAGE_WIDTH,
            self.height / PAGE_HEIGHT,
        )


@dataclass(frozen=True)
class PanelBoxes:
    """One map: title line, slices side by side, colour scale, lines of statistics below."""

    title: Box
    slices: tuple[Box, ...]
    scale: Box
    statistics: Box


@dataclass(frozen=True)
class PageLayout:
    """The boxes of a page."""

    header: Box
    panels: tuple[PanelBoxes, ...]
    footer: Box


def lay_out(
    panels: int, slice_aspect: float, statistics_lines: int, footer_height: float
) -> PageLayout:
    """Places ``panels`` maps so that their pictures are as large as the page allows.

    Every number of columns and of slices per map is tried. The largest area of pictures wins,
    where further slices count less, so that they are added only where there is room.

    Args:
        panels: number of maps, at least 1.
        slice_aspect: width over height of one slice.
        statistics_lines: lines of text below each map.
        footer_height: height of findings and provenance (inches).
    """
    footer = Box(MARGIN, MARGIN * 0.75, PAGE_WIDTH - 2 * MARGIN, footer_height)
    header = Box(MARGIN, PAGE_HEIGHT - _HEADER, PAGE_WIDTH - 2 * MARGIN, _HEADER)
    area = Box(MARGIN, footer.top + _GAP, header.width, header.bottom - footer.top - 2 * _GAP)
    statistics = statistics_lines * _LINE + 0.06
    best: tuple[float, int, int] | None = None
    for columns in range(1, panels + 1):
        rows = -(-panels // columns)
        for slices in range(1, _MOST_SLICES + 1):
            height = _picture_height(area, columns, rows, slices, slice_aspect, statistics)
            size = slices**0.5 * height * height * slice_aspect
            if height > 0 and (best is None or size > best[0] * 1.01):
                best = (size, columns, slices)
    if best is None:
        raise ValueError(f"{panels} maps do not fit on one page")
    _, columns, slices = best
    return PageLayout(
        header=header,
        footer=footer,
        panels=_panel_boxes(area, panels, columns, slices, slice_aspect, statistics),
    )


def _cell_size(area: Box, columns: int, rows: int) -> tuple[float, float]:
    return (
        (area.width - (columns - 1) * _GAP) / columns,
        (area.height - (rows - 1) * _GAP) / rows,
    )


def _picture_height(
    area: Box, columns: int, rows: int, slices: int, aspect: float, statistics: float
) -> float:
    width, height = _cell_size(area, columns, rows)
    return min(height - _TITLE - statistics, (width - _SCALE_WIDTH) / (slices * aspect))


def _panel_boxes(
    area: Box, panels: int, columns: int, slices: int, aspect: float, statistics: float
) -> tuple[PanelBoxes, ...]:
    rows = -(-panels // columns)
    _, height = _cell_size(area, columns, rows)
    tall = _picture_height(area, columns, rows, slices, aspect, statistics)
    wide = tall * aspect
    content = slices * wide + _SCALE_WIDTH
    boxes = []
    for index in range(panels):
        row, column = divmod(index, columns)
        # The first column starts at the left margin and the last one ends at the right one.
        left = area.left + (column / (columns - 1) if columns > 1 else 0.5) * (area.width - content)
        slack = height - _TITLE - tall - statistics
        top = area.top - row * (height + _GAP) - slack / 2
        picture_bottom = top - _TITLE - tall
        boxes.append(
            PanelBoxes(
                title=Box(left, top - _TITLE, content, _TITLE),
                slices=tuple(
                    Box(left + k * wide, picture_bottom, wide, tall) for k in range(slices)
                ),
                scale=Box(left + slices * wide + 0.08, picture_bottom, 0.1, tall),
                statistics=Box(left, picture_bottom - statistics, content, statistics),
            )
        )
    return tuple(boxes)
