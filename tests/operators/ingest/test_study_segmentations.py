from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from highdicom.seg import SegmentationTypeValues
from pydicom import dcmread
from pydicom.dataset import Dataset

from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.study_segmentation import StudySegmentation
from tests.operators.drawn_segmentation import LESION, TISSUE, write_segmentation

SHAPE = (5, 7, 6)


@pytest.fixture
def geometry(axial):
    return hd.VolumeGeometry(axial, SHAPE, "PATIENT", frame_of_reference_uid="1.2.3.4")


@pytest.fixture
def header(write, volumes) -> Dataset:
    folder = write(volumes(*SHAPE))
    return dcmread(next(folder.rglob("*.dcm")), stop_before_pixels=True)


def masks() -> list[np.ndarray]:
    """Two overlapping regions without any symmetry."""
    one, two = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[1:3, 2:6, 4:] = True
    one[3, 5, 5] = True
    two[2:, 3, 1:5] = True
    return [one, two]


def at(segmentation: StudySegmentation, region: np.ndarray, geometry) -> np.ndarray:
    """The region at the voxel centres of another order of the same grid."""
    indices = np.indices(geometry.spatial_shape).reshape(3, -1).T
    places = geometry.map_indices_to_reference(indices)
    theirs = segmentation.geometry.map_reference_to_indices(places)
    nearest = np.rint(theirs).astype(int)
    assert np.abs(theirs - nearest).max() < 1e-3
    inside = np.all((nearest >= 0) & (nearest < segmentation.geometry.spatial_shape), axis=1)
    found = np.zeros(len(places), bool)
    found[inside] = region[tuple(nearest[inside].T)]
    return found.reshape(geometry.spatial_shape)


@pytest.mark.parametrize("encoding", list(SegmentationTypeValues))
def test_segments_are_read_where_they_were_drawn(
    encoding, acquired, header, geometry, tmp_path: Path
) -> None:
    drawn = masks()
    if encoding is SegmentationTypeValues.LABELMAP:
        drawn[1] &= ~drawn[0]
    stored = drawn
    if encoding is SegmentationTypeValues.FRACTIONAL:
        stored = [np.where(mask, 0.7, 0.2) for mask in drawn]
    write_segmentation(
        tmp_path / "seg.dcm", header, stored, geometry, kinds=[LESION, TISSUE],
        labels=["Core", "Rest"], encoding=encoding,
    )  # fmt: skip
    study = acquired(tmp_path)
    assert study.refusals == ()
    assert len(study.acquisitions) == 1
    (found,) = study.segmentations
    assert [(one.label, one.type.value) for one in found.segments] == [
        ("Core", LESION[1].value),
        ("Rest", TISSUE[1].value),
    ]
    assert {one.maker.kind for one in found.segments} == {"MANUAL"}
    assert found.geometry.frame_of_reference_uid == "1.2.3.4"
    for mask, region in zip(drawn, found.read(), strict=True):
        np.testing.assert_array_equal(at(found, region, geometry), mask)
    codes = [finding.code for finding in found.findings]
    fractional = encoding is SegmentationTypeValues.FRACTIONAL
    assert codes == (["fractional-segmentation"] if fractional else [])


def test_it_is_listed_without_its_labels(acquired, header, geometry, tmp_path: Path) -> None:
    write_segmentation(
        tmp_path / "seg.dcm", header, masks(), geometry, labels=["Doe John", "second"]
    )
    (listed,) = [one for one in acquired(tmp_path).series if one.kind is SeriesKind.SEGMENTATION]
    assert "Segmentation" in listed.because
    assert any("Neoplasm" in line for line in listed.protocol)
    assert not any("Doe" in line for line in listed.protocol)


def test_what_this_software_wrote_is_no_drawing(acquired, header, geometry, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "seg.dcm", header, masks(), geometry, manufacturer="QuantMAP")
    study = acquired(tmp_path)
    assert study.segmentations == ()
    assert study.refusals == ()
    assert [one.kind for one in study.series].count(SeriesKind.UNRECOGNISED) == 1


def test_the_configuration_can_leave_it_alone(acquired, header, geometry, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "seg.dcm", header, masks(), geometry, series_number=90)
    named = [{"series_number": 90, "kind": "unrecognised"}]
    assert acquired(tmp_path, series=named).segmentations == ()
    wrong = [{"series_number": 90, "kind": "diffusion"}]
    (refusal,) = acquired(tmp_path, series=wrong).refusals
    assert refusal.rule == "segmentation-named-as-images"
    with pytest.raises(ValueError, match="says itself"):
        acquired(tmp_path, series=[{"series_number": 90, "kind": "segmentation"}])


def test_uneven_slices_are_refused(acquired, header, geometry, tmp_path: Path) -> None:
    everywhere = [np.ones(SHAPE, bool)]
    segmentation = write_segmentation(tmp_path / "seg.dcm", header, everywhere, geometry)
    frame = segmentation.PerFrameFunctionalGroupsSequence[2]
    frame.PlanePositionSequence[0].ImagePositionPatient[2] += 1.5
    segmentation.save_as(tmp_path / "seg.dcm")
    (refusal,) = acquired(tmp_path).refusals
    assert refusal.rule == "segmentation-without-grid"


def test_fewer_pixels_than_announced_are_skipped(
    acquired, header, geometry, tmp_path: Path
) -> None:
    segmentation = write_segmentation(
        tmp_path / "seg.dcm", header, [np.ones(SHAPE, bool)], geometry
    )
    segmentation.PixelData = segmentation.PixelData[:8]
    segmentation.save_as(tmp_path / "seg.dcm")
    study = acquired(tmp_path)
    assert study.segmentations == ()
    assert any("announces" in skipped.reason for skipped in study.skipped)
