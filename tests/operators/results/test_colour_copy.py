from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_results import ORIENTATIONS, made_result
from pydicom import dcmread

from operators.results.colour_copy import write_colour_copies
from operators.results.series_plan import ResultPlan

Planned = Callable[..., ResultPlan]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_colours_lie_where_they_were(orientation: str, planned: Planned, tmp_path: Path) -> None:
    plan = planned(orientation=orientation)
    (colour_map,) = plan.result.colour_maps
    entries = write_colour_copies(plan, tmp_path)
    assert len(entries) == colour_map.volume.spatial_shape[0]
    assert len({entry.sop_instance_uid for entry in entries}) == len(entries)
    for entry in entries:
        image = dcmread(tmp_path / entry.path)
        corner = np.array([[float(value) for value in image.ImagePositionPatient]])
        index = np.rint(colour_map.volume.map_reference_to_indices(corner))[0].astype(int)
        assert index[1:].tolist() == [0, 0]
        np.testing.assert_array_equal(image.pixel_array, colour_map.volume.array[index[0]])
        assert image.SOPInstanceUID == entry.sop_instance_uid
        assert image.SeriesInstanceUID == entry.series_instance_uid


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        ("axial", ["L", "P"]),
        ("descending", ["L", "P"]),
        ("sagittal", ["P", "F"]),
        ("coronal", ["L", "F"]),
    ],
)
def test_patient_orientation_is_told(
    orientation: str, letters: list[str], planned: Planned, tmp_path: Path
) -> None:
    entry = write_colour_copies(planned(orientation=orientation), tmp_path)[0]
    assert list(dcmread(tmp_path / entry.path).PatientOrientation) == letters


def test_another_type_is_refused(planned: Planned, tmp_path: Path) -> None:
    result = made_result()
    (colour_map,) = result.colour_maps
    floats = replace(colour_map, volume=colour_map.volume.astype(np.float32))
    with pytest.raises(ValueError, match="uint8"):
        write_colour_copies(planned(replace(result, colour_maps=(floats,))), tmp_path)
