from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_results import ORIENTATIONS, made_result
from made_tracks import tracked_result
from pydicom import dcmread

from operators.results.series_plan import ResultPlan
from operators.results.tractogram import write_tractogram
from operators.results.tractogram_file import nifti_grid, write_tractogram_file

Planned = Callable[..., ResultPlan]


def written(plan: ResultPlan, folder: Path):  # type: ignore[no-untyped-def]
    (entry,) = write_tractogram(plan, folder)
    assert entry.kind == "tractogram"
    dataset = dcmread(folder / entry.path)
    assert dataset.SOPInstanceUID == entry.sop_instance_uid
    return dataset


def test_points_are_read_back_in_the_patient_frame(planned: Planned, tmp_path: Path) -> None:
    plan = planned(tracked_result())
    tracks = plan.result.tracks
    assert tracks is not None
    (track_set,) = written(plan, tmp_path).TrackSetSequence
    assert len(track_set.TrackSequence) == len(tracks)
    measured = track_set.MeasurementsSequence[0].MeasurementValuesSequence
    for item, values, points, part in zip(
        track_set.TrackSequence,
        measured,
        tracks.tracks(),
        np.split(tracks.anisotropy, tracks.offsets[1:-1]),
        strict=True,
    ):
        read = np.frombuffer(item.PointCoordinatesData, "<f4").reshape(-1, 3)
        np.testing.assert_array_equal(read, points)
        np.testing.assert_array_equal(np.frombuffer(values.FloatingPointValues, "<f4"), part)
    first = np.frombuffer(track_set.TrackSequence[0].PointCoordinatesData, "<f4").reshape(-1, 3)
    assert first[-1, 0] > first[0, 0] + 3, "the track to the patient's left goes to larger x"


def test_colours_follow_the_direction(planned: Planned, tmp_path: Path) -> None:
    (track_set,) = written(planned(tracked_result()), tmp_path).TrackSetSequence
    lab = [item.RecommendedDisplayCIELabValue for item in track_set.TrackSequence]
    red, green, blue = (np.array(value, int) for value in lab)
    # a* rises from green to red, b* from blue to yellow (PS3.3 C.10.7.1.1).
    assert green[1] < min(red[1], blue[1]) - 10_000
    assert blue[2] < min(red[2], green[2]) - 10_000


def test_what_was_done_is_coded(planned: Planned, tmp_path: Path) -> None:
    plan = planned(tracked_result())
    dataset = written(plan, tmp_path)
    (track_set,) = dataset.TrackSetSequence
    assert track_set.DiffusionModelCodeSequence[0].CodeValue == "113231"
    (algorithm,) = track_set.TrackingAlgorithmIdentificationSequence
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "113211"
    statistics = {
        (item.ConceptNameCodeSequence[0].CodeMeaning, item.ModifierCodeSequence[0].CodeMeaning):
        item.FloatingPointValue
        for item in track_set.TrackSetStatisticsSequence
    }  # fmt: skip
    assert plan.result.tracks is not None
    lengths = plan.result.tracks.lengths()
    assert statistics["Length", "Mean"] == pytest.approx(lengths.mean())
    assert statistics["Length", "Maximum"] == pytest.approx(lengths.max())
    images = {image.sop_instance_uid for image in plan.result.source.images}
    assert {one.ReferencedSOPInstanceUID for one in dataset.ReferencedInstanceSequence} == images
    assert dataset.FrameOfReferenceUID == plan.result.source.header.FrameOfReferenceUID


def test_without_tracks_nothing_is_written(planned: Planned, tmp_path: Path) -> None:
    plan = planned(made_result())
    assert write_tractogram(plan, tmp_path) == []
    assert write_tractogram_file(plan, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("orientation", ORIENTATIONS[:4])
def test_other_tools_read_the_exchange_file_in_the_same_place(
    orientation: str, planned: Planned, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dipy.io.streamline import load_tractogram

    caplog.set_level(logging.ERROR)
    plan = planned(tracked_result(orientation))
    tracks = plan.result.tracks
    assert tracks is not None
    (entry,) = write_tractogram_file(plan, tmp_path)
    read = load_tractogram(str(tmp_path / entry.path), "same", bbox_valid_check=False)
    assert len(read.streamlines) == len(tracks)
    for theirs, ours in zip(read.streamlines, tracks.tracks(), strict=True):
        np.testing.assert_allclose(theirs * [-1, -1, 1], ours, atol=1e-4)
    affine, dimensions, *_ = read.space_attributes
    np.testing.assert_allclose(affine, nifti_grid(tracks.geometry)[0], atol=1e-4)
    assert tuple(dimensions) == tracks.geometry.spatial_shape[::-1]
    np.testing.assert_allclose(
        np.concatenate(list(read.data_per_point["fa"])).ravel(), tracks.anisotropy, atol=1e-6
    )
    # In voxels of columns, rows, slices, as an image of the series has them.
    read.to_vox()
    places = tracks.geometry.map_reference_to_indices(tracks.tracks()[1].astype(float))
    np.testing.assert_allclose(read.streamlines[1][:, ::-1], places, atol=1e-3)
