from __future__ import annotations

from itertools import combinations

import pytest

from operators.results.page_layout import PAGE_HEIGHT, PAGE_WIDTH, Box, PanelBoxes, lay_out


def overlap(one: Box, other: Box) -> bool:
    return (
        one.left < other.right - 1e-9
        and other.left < one.right - 1e-9
        and one.bottom < other.top - 1e-9
        and other.bottom < one.top - 1e-9
    )


def boxes(panel: PanelBoxes) -> list[Box]:
    return [panel.title, *panel.slices, panel.scale, panel.statistics]


@pytest.mark.parametrize("aspect", [0.5, 0.8, 1.0, 2.0])
@pytest.mark.parametrize("panels", range(1, 15))
def test_everything_is_on_the_page_and_nothing_overlaps(panels: int, aspect: float) -> None:
    layout = lay_out(panels, aspect, statistics_lines=3, footer_height=1.6)
    assert len(layout.panels) == panels
    every = [layout.header, layout.footer, *(b for panel in layout.panels for b in boxes(panel))]
    for box in every:
        assert box.width > 0
        assert box.height > 0
        assert box.left >= 0
        assert box.right <= PAGE_WIDTH
        assert box.bottom >= 0
        assert box.top <= PAGE_HEIGHT + 1e-9
    for one, other in combinations(every, 2):
        assert not overlap(one, other)


@pytest.mark.parametrize("aspect", [0.5, 0.8, 2.0])
def test_pictures_keep_their_aspect(aspect: float) -> None:
    for panel in lay_out(6, aspect, 2, 1.3).panels:
        for box in panel.slices:
            assert box.width / box.height == pytest.approx(aspect)


def test_pictures_stay_large_enough_to_read() -> None:
    for panels in range(4, 13):
        assert lay_out(panels, 0.8, 2, 1.3).panels[0].slices[0].height > 1.0
