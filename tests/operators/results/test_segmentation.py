from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from made_results import ORIENTATIONS, made_geometry, made_result

from operators.results.segmentation import segmentation, write_segmentation
from operators.results.series_plan import ResultPlan

Planned = Callable[..., ResultPlan]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_overlapping_segments_and_geometry_read_back(
    orientation: str, planned: Planned, tmp_path: Path
) -> None:
    plan = planned(orientation=orientation)
    (entry,) = write_segmentation(plan, tmp_path)
    read = hd.seg.segread(tmp_path / entry.path)
    assert read.number_of_segments == 2
    for number, segment in enumerate(plan.result.segments, start=1):
        volume = read.get_volume(segment_numbers=[number], combine_segments=False)
        volume = volume.squeeze_channel().match_geometry(segment.volume)
        assert volume.geometry_equal(segment.volume, tol=1e-5)
        np.testing.assert_array_equal(volume.array > 0, segment.volume.array > 0)
        description = read.get_segment_description(number)
        assert description.segment_label == segment.name
        assert description.segmented_property_type == segment.type
        assert description.algorithm_identification[0].AlgorithmName == "QuantMAP diffusion"


def test_nothing_is_written_without_voxels(planned: Planned, tmp_path: Path) -> None:
    result = made_result()
    empty = tuple(
        replace(s, volume=s.volume.with_array(np.zeros_like(s.volume.array)))
        for s in result.segments
    )
    assert write_segmentation(planned(replace(result, segments=empty)), tmp_path) == []
    assert not list(tmp_path.rglob("*.dcm"))


def test_segments_on_different_grids_are_refused(planned: Planned) -> None:
    result = made_result("axial")
    other = made_geometry("sagittal").with_array(np.ones((7, 12, 10), np.uint8))
    segments = (result.segments[0], replace(result.segments[1], volume=other))
    with pytest.raises(ValueError, match="different grids"):
        segmentation(planned(replace(result, segments=segments)))
