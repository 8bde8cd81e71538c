from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from made_results import ORIENTATIONS, made_result, with_values

from operators.results.parametric_map import parametric_map, write_parametric_maps
from operators.results.series_plan import ResultPlan

Planned = Callable[..., ResultPlan]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_values_and_geometry_read_back(orientation: str, planned: Planned, tmp_path: Path) -> None:
    result = made_result(orientation)
    written = write_parametric_maps(planned(result), tmp_path)
    for entry, quantity_map in zip(written, result.maps, strict=True):
        read = hd.imread(tmp_path / entry.path)
        volume = read.get_volume().match_geometry(quantity_map.volume)
        assert volume.geometry_equal(quantity_map.volume, tol=1e-5)
        np.testing.assert_array_equal(volume.array, quantity_map.volume.array)


@pytest.mark.parametrize("orientation", ["axial", "descending", "oblique", "sagittal"])
def test_frames_ascend_along_row_cross_column(orientation: str, planned: Planned) -> None:
    plan = planned(orientation=orientation)
    dataset = parametric_map(plan, plan.result.maps[0])
    shared = dataset.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    positions = [
        normal @ np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert np.all(np.diff(positions) > 0)
    indices = [
        frame.FrameContentSequence[0].DimensionIndexValues
        for frame in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert [int(np.squeeze(index)) for index in indices] == list(range(1, len(indices) + 1))


def test_each_frame_names_the_images_of_its_own_slice(planned: Planned) -> None:
    plan = planned(orientation="descending")
    dataset = parametric_map(plan, plan.result.maps[0])
    slice_of = {i.sop_instance_uid: i.slices[0] for i in plan.result.source.images}
    origin, step = (
        plan.result.maps[0].volume.affine[:3, 3],
        plan.result.maps[0].volume.affine[:3, 0],
    )
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        index = round(float((position - origin) @ step / (step @ step)))
        sources = frame.DerivationImageSequence[0].SourceImageSequence
        assert {slice_of[s.ReferencedSOPInstanceUID] for s in sources} == {index}
        assert len(sources) == 2


def test_quantity_unit_window_and_method_are_stated(planned: Planned) -> None:
    plan = planned(names=("fractional_anisotropy",))
    dataset = parametric_map(plan, plan.result.maps[0])
    shared = dataset.SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    quantity, model, method, *b_values = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeValue == "110808"
    assert model.ConceptCodeSequence[0].CodeMeaning == "Single Tensor"
    assert "doi:10.1006/jmrb.1994.1037" in method.TextValue
    assert [b.NumericValue for b in b_values] == [0, 1000]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert "DoubleFloatRealWorldValueFirstValueMapped" in mapping
    window = shared.FrameVOILUTSequence[0]
    assert window.VOILUTFunction == "LINEAR_EXACT"
    assert (window.WindowCenter, window.WindowWidth) == (0.5, 1)
    assert shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert "0 where not computed" in dataset.DerivationDescription


def test_algorithm_version_and_network_are_stated(planned: Planned) -> None:
    plan = planned()
    dataset = parametric_map(plan, plan.result.maps[0])
    ours = [
        item
        for item in dataset.ContributingEquipmentSequence
        if item.get("ContributionDescription", "").startswith("Processing Algorithm")
    ]
    (item,) = ours
    assert list(item.SoftwareVersions) == ["0.1.0", "5d" * 32, "model.onnx"]
    assert "fit=weighted" in item.ContributionDescription
    scheme = dataset.CodingSchemeIdentificationSequence[0]
    assert scheme.CodingSchemeDesignator == "99QUANTMAP"


def test_patient_study_and_frame_of_reference_are_kept(planned: Planned) -> None:
    plan = planned()
    dataset, header = parametric_map(plan, plan.result.maps[0]), plan.result.source.header
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID",
                    "AccessionNumber", "StudyDescription", "FrameOfReferenceUID"):  # fmt: skip
        assert dataset[keyword].value == header[keyword].value
    assert dataset.SeriesInstanceUID != header.SeriesInstanceUID
    named = {i.ReferencedSOPInstanceUID for i in dataset.SourceImageSequence}
    assert named == {i.sop_instance_uid for i in plan.result.source.images}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float, planned: Planned) -> None:
    result = made_result(names=("t1",))
    values = result.maps[0].volume.array.copy()
    values[0, 0, 0] = value
    plan = planned(with_values(result, "t1", values))
    with pytest.raises(ValueError, match="finite"):
        parametric_map(plan, plan.result.maps[0])


def test_a_signal_of_any_scale_is_shown_up_to_its_bright_voxels(planned: Planned) -> None:
    result = made_result(names=("b0",))
    for scale in (0.001, 1.0, 1e5):
        plan = planned(with_values(result, "b0", result.maps[0].volume.array * np.float32(scale)))
        dataset = parametric_map(plan, plan.result.maps[0])
        window = dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
        assert 0.9 <= float(window.WindowWidth) / (1000 * scale) <= 1.1
