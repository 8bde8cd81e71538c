"""Tracts and drawings of a study beside other people's validators, readers and objects."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.sr.codedict import codes

from operators.inference.diffusion import diffusion_outcome
from operators.inference.midsagittal_plane import midsagittal_plane
from operators.inference.settings import DiffusionSettings, PriorSettings
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from operators.results.measurement_report import write_measurement_report
from operators.results.segmentation import write_segmentation
from operators.results.tractogram import write_tractogram
from operators.results.tractogram_file import nifti_grid
from operators.results.write_results import write_planned
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.study_segmentation import StudySegmentation
from tests.operators.results.made_tracks import tracked_result
from tests.peers.test_written_objects import BUILDS, XPATH_LIMITS, errors, messages

Tool = Callable[[str], str]
SharedData = Callable[[str], Path]
WRITERS = (write_segmentation, write_measurement_report, write_tractogram)

# Segmentation and NRRD of the same regions, by the people who made both; a NRRD holds labels.
DRAWINGS = {
    "liver.dcm": ("liver_seg.nrrd",),
    "23x38x3/seg/label.seg": ("23x38x3/nrrd/label.nrrd",),
    "24x38x3/seg/label.seg": ("24x38x3/nrrd/label.nrrd",),
    "sparse-labelmap-noppv.dcm": ("sparse_labelmap_noppv_seg.nrrd",),
    "sparse-labelmap-ppv5.dcm": ("sparse_labelmap_ppv5_seg.nrrd",),
    "partial_overlaps.dcm": (
        "partial_overlaps-1.nrrd",
        "partial_overlaps-2.nrrd",
        "partial_overlaps-3.nrrd",
    ),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tractogram, Segmentation and report of one result, by kind."""
    folder = tmp_path_factory.mktemp("tracked")
    entries = write_planned([tracked_result()], folder, WRITERS, datetime(2026, 1, 2, 3, 4, 5))
    return {entry.kind: folder / entry.path for entry in entries}


@pytest.mark.parametrize("build", BUILDS)
def test_validators_find_no_error(build: str, written: dict[str, Path], tool: Tool) -> None:
    assert set(written) == {"segmentation", "measurement report", "tractogram"}
    assert "TractographyResults" in messages(
        [tool(str(BUILDS[build] / "dciodvfy")), str(written["tractogram"])]
    )
    found = {kind: errors(build, path, tool) for kind, path in written.items()}
    assert {kind: lines for kind, lines in found.items() if lines} == {}


def test_ratios_and_connections_follow_the_template(written: dict[str, Path], tool: Tool) -> None:
    path = written["measurement report"]
    lines = messages([tool("DicomSRValidator"), str(path)], JAVA_TOOL_OPTIONS=XPATH_LIMITS)
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines
    assert "IOD validation complete" in lines
    assert [line for line in lines if line.startswith(("Error", "Warning"))] == []


def label_at(image: SimpleITK.Image, drawing: StudySegmentation, region: np.ndarray) -> np.ndarray:
    """Labels that the NRRD has at the voxels of a region, 0 outside of it."""
    places = drawing.geometry.map_indices_to_reference(np.argwhere(region))
    found = np.zeros(len(places), int)
    for number, place in enumerate(places.tolist()):
        index = image.TransformPhysicalPointToIndex(place)
        if all(0 <= one < size for one, size in zip(index, image.GetSize(), strict=True)):
            found[number] = image[index]
    return found


@pytest.mark.parametrize("name", DRAWINGS)
def test_other_peoples_segments_lie_where_their_nrrd_has_them(
    name: str, shared_data: SharedData, tmp_path: Path
) -> None:
    folder = shared_data("dicom_results_by_dcmqi") / "data" / "segmentations"
    (tmp_path / "drawing").symlink_to(folder / name)
    (drawing,) = acquire(tmp_path, IngestSettings()).segmentations
    images = [SimpleITK.ReadImage(str(folder / nrrd)) for nrrd in DRAWINGS[name]]
    for region in drawing.read():
        # In one of the images the whole region has one label, and nothing else has it.
        labels = [np.unique(label_at(image, drawing, region)) for image in images]
        ((image, label),) = [
            (image, found[0])
            for image, found in zip(images, labels, strict=True)
            if len(found) == 1 and found[0] > 0
        ]
        assert region.sum() == (SimpleITK.GetArrayFromImage(image) == label).sum()


@pytest.fixture(scope="module")
def scanned(shared_data: SharedData) -> PipelineResult:
    """The result of the in-vivo series of 39 slices."""
    folder = shared_data("dwi_siemens_xa30_enhanced") / "dicom" / "10_DWI_dir80_PA"
    study = acquire(folder, IngestSettings())
    settings = DiffusionSettings(prior=PriorSettings(weight=0))
    (result,) = diffusion_outcome(study, {}, settings).results
    return result


def test_callosal_tracks_cross_from_left_to_right(scanned: PipelineResult) -> None:
    tracks = scanned.tracks
    assert tracks is not None
    (brain,) = [one for one in scanned.segments if one.type == codes.SCT.Brain]
    image = scanned.maps[0].volume
    plane = midsagittal_plane(image.array, brain.volume.array > 0, image.get_geometry())
    assert plane is not None
    beside = (tracks.ends() - plane.point) @ plane.normal
    crossing = (beside.prod(axis=1) < 0) & (np.abs(beside).min(axis=1) > 15)
    assert crossing.sum() > 50
    across = []
    for points, crosses in zip(tracks.tracks(), crossing, strict=True):
        if crosses:
            middle = int(np.argmin(np.abs((points - plane.point) @ plane.normal)))
            steps = np.diff(points[max(middle - 2, 0) : middle + 3], axis=0)
            along = steps.sum(axis=0)
            across.append(abs(along @ plane.normal) / np.linalg.norm(along))
    # At the midline they run from side to side.
    assert np.median(across) > 0.95
    assert len(tracks.tracks()) > 1000
    assert 40 < tracks.lengths().mean() < 100


def test_tracks_lie_on_the_grid_that_dcm2niix_gives_the_series(
    scanned: PipelineResult, shared_data: SharedData, tool: Tool, tmp_path: Path
) -> None:
    folder = shared_data("dwi_siemens_xa30_enhanced") / "dicom" / "10_DWI_dir80_PA"
    command = [tool("dcm2niix"), "-f", "dwi", "-z", "n", "-o", str(tmp_path), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    theirs = nibabel.load(next(tmp_path.glob("*.nii")))
    assert scanned.tracks is not None
    affine, dimensions = nifti_grid(scanned.tracks.geometry)
    assert theirs.shape[:3] == dimensions
    # The rows are counted from the other end; the places are the same.
    onto = np.linalg.inv(theirs.affine) @ affine
    np.testing.assert_allclose(np.abs(onto[:3, :3]), np.eye(3), atol=1e-3)
    np.testing.assert_allclose(onto[:3, 3], np.rint(onto[:3, 3]), atol=2e-2)
