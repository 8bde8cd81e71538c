from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from made_results import ORIENTATIONS, made_result
from pydicom import dcmread

from operators.results.colour_map import colour_image, write_colour_maps
from operators.results.series_plan import ResultPlan

Planned = Callable[..., ResultPlan]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_colours_and_geometry_read_back(orientation: str, planned: Planned, tmp_path: Path) -> None:
    plan = planned(orientation=orientation)
    (entry,) = write_colour_maps(plan, tmp_path)
    (colour_map,) = plan.result.colour_maps
    image = dcmread(tmp_path / entry.path)
    assert image.SOPInstanceUID == entry.sop_instance_uid
    volume = hd.imread(tmp_path / entry.path).get_volume().match_geometry(colour_map.volume)
    assert volume.geometry_equal(colour_map.volume, tol=1e-5)
    np.testing.assert_array_equal(volume.array, colour_map.volume.array)


def test_another_type_is_refused(planned: Planned) -> None:
    result = made_result()
    (colour_map,) = result.colour_maps
    floats = replace(colour_map, volume=colour_map.volume.astype(np.float32))
    plan = planned(replace(result, colour_maps=(floats,)))
    with pytest.raises(ValueError, match="uint8"):
        colour_image(plan, floats)
