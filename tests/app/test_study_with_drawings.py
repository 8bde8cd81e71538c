"""Segmentations that come with a study, through the whole application."""

from __future__ import annotations

import shutil
from pathlib import Path

import highdicom as hd
import numpy as np
from application_process import result_in, run
from pydicom import dcmread

from app.result_file import RunStatus
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from tests.operators.drawn_segmentation import write_segmentation


def draw(study: Path, name: str, frame_of_reference: str | None = None) -> None:
    """Add a Segmentation of a corner of the ball, by default in the study's frame."""
    geometry = acquire(study, IngestSettings()).acquisitions[0].geometry
    mask = np.zeros(geometry.spatial_shape, bool)
    mask[1:4, 6:12, 13:18] = True
    header = dcmread(next(study.rglob("*.dcm")), stop_before_pixels=True)
    header.FrameOfReferenceUID = frame_of_reference or header.FrameOfReferenceUID
    grid = hd.VolumeGeometry(
        geometry.affine,
        geometry.spatial_shape,
        "PATIENT",
        frame_of_reference_uid=header.FrameOfReferenceUID,
    )
    write_segmentation(study / name, header, [mask], grid, labels=["Corner"])


def test_a_drawing_is_measured_and_our_own_is_not(small_study: Path, tmp_path: Path) -> None:
    study, first, second = tmp_path / "study", tmp_path / "first", tmp_path / "second"
    shutil.copytree(small_study, study)
    draw(study, "drawing.dcm")
    process = run("-i", study, "-o", first)
    assert process.returncode == 0, process.stderr
    result = result_in(first)
    assert {series.kind for series in result.inputs_used} == {"diffusion", "segmentation"}
    (path,) = [one.path for one in result.outputs if one.kind == "segmentation"]
    labels = [item.SegmentLabel for item in dcmread(first / path).SegmentSequence]
    assert "Corner" in labels
    # Results that lie in the input of a later run are no drawings of anybody.
    (study / "drawing.dcm").unlink()
    shutil.copy(first / path, study / "ours.dcm")
    process = run("-i", study, "-o", second)
    assert process.returncode == 0, process.stderr
    result = result_in(second)
    assert [series.kind for series in result.inputs_used] == ["diffusion"]
    assert any("QuantMAP wrote" in series.because for series in result.inputs_not_used)


def test_a_drawing_in_another_frame_is_refused_and_the_rest_kept(
    small_study: Path, tmp_path: Path
) -> None:
    study, results = tmp_path / "study", tmp_path / "results"
    shutil.copytree(small_study, study)
    draw(study, "drawing.dcm", frame_of_reference="1.2.826.0.1.3680043.10.9")
    process = run("-i", study, "-o", results)
    assert process.returncode == 3
    result = result_in(results)
    assert result.status is RunStatus.PARTIAL
    assert [refusal.rule for refusal in result.refusals] == ["frame-of-reference-differs"]
    assert any(one.kind == "parametric map" for one in result.outputs)
