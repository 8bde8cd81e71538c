from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from bundle_phantom import FRAME
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from operators.inference import contralateral
from operators.inference.resample import nearest_voxels, same_voxels
from operators.inference.segments import ANALYSED
from operators.inference.study_segments import with_study_segments
from operators.vocabulary.acquisition import SourceImage, SourceSeries
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import Algorithm, PipelineResult, Segment
from operators.vocabulary.run import PipelineOutcome
from operators.vocabulary.study_segmentation import (
    DescribedSegment,
    SegmentMaker,
    StudySegmentation,
)

SHAPE = (14, 62, 50)
_BY_HAND = SegmentMaker("MANUAL")
LESION = codes.SCT.MorphologicallyAbnormalStructure
TILT = 8.0
"""Degrees by which the brain of the phantom is turned about the head-feet axis."""


def grid(spacing: float = 3.0, frame: str = FRAME, shape: tuple[int, ...] = SHAPE):  # type: ignore[no-untyped-def]
    """An axial grid around the origin."""
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[2, 0] = affine[1, 1] = affine[0, 2] = spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return hd.VolumeGeometry(affine, shape, "PATIENT", frame_of_reference_uid=frame)


def places(geometry: hd.VolumeGeometry) -> np.ndarray:
    """LPS mm of each voxel, in the axes of the phantom's turned brain."""
    indices = np.indices(geometry.spatial_shape).reshape(3, -1).T
    turn = np.radians(TILT)
    axes = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    turned = geometry.map_indices_to_reference(indices) @ axes.T
    return turned.reshape(*geometry.spatial_shape, 3)


def ball(geometry: hd.VolumeGeometry, centre: Sequence[float], radius: float) -> np.ndarray:
    return np.linalg.norm(places(geometry) - np.array(centre), axis=-1) < radius


def series(number: int) -> SourceSeries:
    header = Dataset()
    header.SeriesInstanceUID = f"1.2.{number}"
    header.SeriesNumber = number
    return SourceSeries(header, (SourceImage(None, "1", f"1.2.{number}.1"),))  # type: ignore[arg-type]


def result(lesions: Sequence[np.ndarray] = (), name: str = "t1") -> PipelineResult:
    """A brain, symmetric but for lesions, in which the map is twice as large."""
    geometry = grid()
    place = places(geometry)
    brain = (np.abs(place) / np.array([62, 80, 60])) ** 2
    inside = brain.sum(axis=-1) < 1
    values = 900 + 300 * np.cos(place[..., 0] / 9) * np.cos(place[..., 1] / 14)
    for lesion in lesions:
        values[lesion] *= 2
    scale = QUANTITIES[name].window[1] / 3000
    values = np.where(inside, values * scale, 0).astype(np.float32)
    region = geometry.with_array(inside.astype(np.uint8))
    return PipelineResult(
        pipeline="any",
        maps=(QuantityMap(QUANTITIES[name], geometry.with_array(values)),),
        segments=(
            Segment("Brain", codes.SCT.AnatomicalStructure, codes.SCT.Brain, region),
            Segment("Analysed voxels", codes.SCT.SpatialAndRelationalConcept, ANALYSED, region),
        ),
        findings=(),
        algorithm=Algorithm("any", "1", {}, "cpu", {}, ""),
        source=series(5),
    )


def drawing(
    masks: Sequence[np.ndarray],
    geometry: hd.VolumeGeometry,
    series_number: int = 90,
    label: str = "Tumour",
    category: Code = LESION,
) -> StudySegmentation:
    def read() -> Iterator[np.ndarray]:
        yield from masks

    return StudySegmentation(
        segments=tuple(
            DescribedSegment(
                k, f"{label} {k}", category, codes.SCT.Neoplasm, SegmentMaker("MANUAL")
            )
            for k in range(1, len(masks) + 1)
        ),
        geometry=geometry,
        source=series(series_number),
        read=read,
    )


def measured(found: PipelineResult, *drawings: StudySegmentation) -> PipelineResult:
    (outcome,) = with_study_segments([PipelineOutcome("any", (found,))], drawings)
    assert outcome.refusals == ()
    return outcome.results[0]


def finding_codes(found: PipelineResult) -> set[str]:
    return {finding.code for finding in found.findings}


def test_a_lesion_is_compared_with_its_mirror_image() -> None:
    geometry = grid()
    lesion = ball(geometry, (30, 10, 2), 11)
    found = measured(result([lesion]), drawing([lesion], geometry))
    tumour, mirror = found.segments[2:]
    assert tumour.maker == _BY_HAND
    np.testing.assert_array_equal(tumour.volume.array > 0, lesion)
    # A lesion pulls the plane: its counterpart is found to some millimetres.
    centre = places(geometry)[mirror.volume.array > 0].mean(axis=0)
    assert np.linalg.norm(centre - np.array((-30, 10, 2))) < 5
    assert mirror.volume.array.sum() == pytest.approx(lesion.sum(), rel=0.1)
    (ratio,) = found.ratios()
    assert (ratio.segment, ratio.reference) == ("Tumour 1", "Tumour 1, mirrored")
    assert ratio.value == pytest.approx(2.0, rel=0.05)
    assert found.region_sources[0].series_number == 90
    assert "segments-resampled" not in finding_codes(found)


def test_no_ratio_is_given_of_a_quantity_that_can_be_negative() -> None:
    lesion = ball(grid(), (30, 10, 2), 11)
    found = measured(result([lesion], "b0_shift"), drawing([lesion], grid()))
    assert found.pairs
    assert found.ratios() == ()


def test_a_finer_drawing_is_put_on_the_grid_of_the_maps() -> None:
    fine = grid(1.0, shape=tuple(3 * side for side in SHAPE))
    found = measured(result(), drawing([ball(fine, (30, 10, 2), 11)], fine))
    expected = ball(grid(), (30, 10, 2), 11)
    np.testing.assert_array_equal(found.segments[2].volume.array > 0, expected)
    assert "segments-resampled" in finding_codes(found)


def test_the_order_of_axes_of_a_drawing_does_not_matter() -> None:
    geometry = grid()
    lesion = geometry.with_array(ball(geometry, (30, 10, 2), 11))
    turned = lesion.flip_spatial([0, 2]).permute_spatial_axes([2, 1, 0])
    found = measured(result(), drawing([turned.array], turned.get_geometry()))
    np.testing.assert_array_equal(found.segments[2].volume.array > 0, lesion.array)
    assert "segments-resampled" not in finding_codes(found)
    assert same_voxels(turned.get_geometry(), geometry)
    assert not same_voxels(grid(1.0), geometry)


def test_another_frame_of_reference_is_refused() -> None:
    elsewhere = drawing([ball(grid(), (30, 10, 2), 11)], grid(frame="2.25.77"))
    (outcome,) = with_study_segments([PipelineOutcome("any", (result(),))], [elsewhere])
    (refusal,) = outcome.refusals
    assert refusal.rule == "frame-of-reference-differs"
    assert refusal.series_number == 90
    assert [segment.name for segment in outcome.results[0].segments] == [
        "Brain",
        "Analysed voxels",
    ]
    with pytest.raises(Refusal, match="another Frame of Reference"):
        nearest_voxels(grid(frame="2.25.77"), grid())


def test_a_drawing_that_fits_one_result_is_not_refused_for_the_other() -> None:
    lesion = ball(grid(), (30, 10, 2), 11)
    far = grid(frame="2.25.77")
    other = result()
    other = replace(
        other,
        maps=tuple(replace(one, volume=far.with_array(one.volume.array)) for one in other.maps),
    )
    outcomes = [PipelineOutcome("one", (other,)), PipelineOutcome("two", (result(),))]
    grown = with_study_segments(outcomes, [drawing([lesion], grid())])
    assert [outcome.refusals for outcome in grown] == [(), ()]
    assert len(grown[0].results[0].segments) == 2
    assert len(grown[1].results[0].segments) == 4


def test_voxels_without_a_result_are_left_out_and_said() -> None:
    geometry = grid()
    cut, beyond = ball(geometry, (60, 0, 2), 12), ball(geometry, (0, 90, 2), 6)
    found = measured(result(), drawing([cut, beyond], geometry))
    brain = found.segments[0].volume.array > 0
    np.testing.assert_array_equal(found.segments[2].volume.array > 0, cut & brain)
    assert {"segment-beyond-analysed", "segment-without-voxel"} <= finding_codes(found)
    assert not any(segment.name == "Tumour 2" for segment in found.segments)


def test_a_region_at_the_midline_has_no_mirror_image() -> None:
    found = measured(result(), drawing([ball(grid(), (0, 0, 2), 11)], grid()))
    assert found.pairs == ()
    assert "segment-without-mirror" in finding_codes(found)


def test_other_lesions_are_no_reference() -> None:
    geometry = grid()
    one, two = ball(geometry, (30, 10, 2), 11), ball(geometry, (-30, 10, 2), 11)
    found = measured(result([one, two]), drawing([one, two], geometry))
    assert found.pairs == ()


def test_a_parcellation_is_not_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contralateral, "MOST_MIRRORED", 1)
    geometry = grid()
    drawn = drawing([ball(geometry, (s, 10, 2), 11) for s in (30, -30)], geometry)
    found = measured(result(), drawn)
    assert found.pairs == ()
    assert "no-mirrored-segments" in finding_codes(found)


def test_without_a_head_nothing_is_mirrored() -> None:
    lesion = ball(grid(), (30, 10, 2), 11)
    body = replace(result(), segments=result().segments[1:])
    found = measured(body, drawing([lesion], grid()))
    assert found.pairs == ()
    assert "no-mirrored-segments" in finding_codes(found)


def test_names_stay_apart() -> None:
    geometry = grid()
    lesion = ball(geometry, (30, 10, 2), 11)
    drawings = [drawing([lesion], geometry, number) for number in (90, 91)]
    names = [segment.name for segment in measured(result(), *drawings).segments]
    assert len(set(names)) == len(names)
    assert "Tumour 1 [series 91, segment 1]" in names


def test_without_drawings_nothing_changes() -> None:
    outcome = PipelineOutcome("any", (result(),))
    (same,) = with_study_segments([outcome], [])
    assert same.results[0] is outcome.results[0]
