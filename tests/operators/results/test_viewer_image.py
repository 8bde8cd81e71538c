from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from made_results import ORIENTATIONS, made_result, with_values
from pydicom import dcmread
from pydicom.dataset import Dataset

from operators.results.series_plan import ResultPlan
from operators.results.value_window import STORED_LEVELS
from operators.results.viewer_image import stored_values, write_viewer_images
from operators.vocabulary.quantity import QUANTITIES

Planned = Callable[..., ResultPlan]


def written_series(plan: ResultPlan, folder: Path, name: str) -> list[Dataset]:
    entries = [e for e in write_viewer_images(plan, folder) if e.quantity == name]
    return [dcmread(folder / entry.path) for entry in entries]


@pytest.mark.parametrize("orientation", [o for o in ORIENTATIONS if o != "single"])
def test_values_and_geometry_read_back(orientation: str, planned: Planned, tmp_path: Path) -> None:
    plan = planned(orientation=orientation, names=("t1",))
    (quantity_map,) = plan.result.maps
    volume = hd.get_volume_from_series(written_series(plan, tmp_path, "t1"))
    volume = volume.match_geometry(quantity_map.volume)
    assert volume.geometry_equal(quantity_map.volume, tol=1e-5)
    np.testing.assert_allclose(volume.array, quantity_map.volume.array, atol=0.5001)


@pytest.mark.parametrize("name", QUANTITIES)
def test_the_copy_is_right_to_half_a_step_within_the_window(name: str, planned: Planned) -> None:
    plan = planned(orientation="axial", names=(name,))
    (quantity_map,) = plan.result.maps
    stored = stored_values(quantity_map)
    assert stored.clamped == 0  # the whole display window fits in twelve bits
    error = np.abs(stored.array * stored.step - quantity_map.volume.array)
    assert error.max() <= 0.5001 * stored.step
    assert stored.array.max() < STORED_LEVELS


def test_two_mappings_give_the_same_value(planned: Planned, tmp_path: Path) -> None:
    plan = planned(names=("fractional_anisotropy",))
    for image in written_series(plan, tmp_path, "fractional_anisotropy"):
        mapping = image.RealWorldValueMappingSequence[0]
        assert mapping.RealWorldValueSlope == pytest.approx(float(image.RescaleSlope))
        assert mapping.RealWorldValueIntercept == float(image.RescaleIntercept) == 0
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
        assert mapping.RealWorldValueFirstValueMapped == 0
        assert mapping.RealWorldValueLastValueMapped == 4095


def test_a_step_of_one_has_slope_one(planned: Planned, tmp_path: Path) -> None:
    plan = planned(names=("t1",))
    assert all(float(i.RescaleSlope) == 1 for i in written_series(plan, tmp_path, "t1"))


def test_one_window_and_one_image_type_for_the_series(planned: Planned, tmp_path: Path) -> None:
    series = written_series(planned(names=("t1",)), tmp_path, "t1")
    assert len({(i.WindowCenter, i.WindowWidth, i.VOILUTFunction) for i in series}) == 1
    assert {tuple(i.ImageType) for i in series} == {("DERIVED", "PRIMARY", "T1 MAP", "T1")}
    assert [i.InstanceNumber for i in series] == list(range(1, len(series) + 1))
    assert len({i.SOPInstanceUID for i in series}) == len(series)


def test_values_above_the_console_range_are_clamped_and_said_so(
    planned: Planned, tmp_path: Path
) -> None:
    result = made_result("axial", names=("t1",))
    values = result.maps[0].volume.array.copy()
    values[0, 0, 0] = 5200.0
    plan = planned(with_values(result, "t1", values))
    written = write_viewer_images(plan, tmp_path)
    findings = [finding for entry in written for finding in entry.findings]
    assert [finding.code for finding in findings] == ["viewer-values-clamped"]
    assert "1 of 840 voxels" in findings[0].message
    image = dcmread(tmp_path / written[0].path)
    assert image.pixel_array[0, 0] == 4095
    assert "clamped" in image.DerivationDescription
    assert plan.result.maps[0].volume.array[0, 0, 0] == 5200


def test_negative_values_survive(planned: Planned, tmp_path: Path) -> None:
    result = made_result("axial", names=("b0_shift",))
    values = result.maps[0].volume.array.copy()
    values[0, 0, :2] = [-0.437, -3.0]
    plan = planned(with_values(result, "b0_shift", values))
    image = dcmread(tmp_path / write_viewer_images(plan, tmp_path)[0].path)
    assert image.PixelRepresentation == 1
    assert image.pixel_array[0, 0] == -437
    assert image.pixel_array[0, 1] == -2048
    assert image.RealWorldValueMappingSequence[0].RealWorldValueFirstValueMapped == -2048


def test_a_bright_signal_is_scaled_instead_of_clamped(planned: Planned) -> None:
    result = made_result("axial", names=("b0",))
    (quantity_map,) = with_values(result, "b0", result.maps[0].volume.array * 70).maps
    stored = stored_values(quantity_map)
    assert stored.clamped == 0
    assert stored.step == 100
    np.testing.assert_allclose(stored.array * 100.0, quantity_map.volume.array, atol=50.1)


def test_each_slice_names_its_sources_and_the_series(planned: Planned, tmp_path: Path) -> None:
    plan = planned(names=("t1",))
    for image in written_series(plan, tmp_path, "t1"):
        assert len(image.SourceImageSequence) == 2
        related = image.RelatedSeriesSequence[0].SeriesInstanceUID
        assert related == plan.result.source.series_instance_uid
