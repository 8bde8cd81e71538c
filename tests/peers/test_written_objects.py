"""Other people's validators and readers on everything that the results wing writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from app.demo.mr_series import write_mr_series
from operators.results.series_plan import plan_results
from operators.results.settings import ResultsSettings
from operators.results.summary import write_summary
from operators.results.write_results import write_results
from operators.vocabulary.acquisition import SourceImage, SourceSeries
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import WrittenObject
from tests.operators.results.made_results import (
    STUDY_UID,
    made_geometry,
    made_header,
    made_result,
)

Tool = Callable[[str], str]
SharedData = Callable[[str], Path]

BUILDS = {"Debian": Path("/usr/bin"), "PyPI": Path(sys.executable).parent}
DCMQI = Path(sys.executable).parent
ORIENTATIONS = ("oblique", "descending", "sagittal", "single")
MAPS = ("mean_diffusivity", "b0_shift", "t1")

# dciodvfy takes every body part that it does not know for one that comes in pairs.
KNOWN_MESSAGE = "Missing attribute Type 2C Conditional Element=<Laterality>"
# It places Accession Number of encapsulated documents in the series, all others in the study.
KNOWN_ENTITY = "Different information entities for attribute - Element=<AccessionNumber>"
XPATH_LIMITS = " ".join(
    f"-Djdk.xml.xpath{name}=0" for name in ("ExprOpLimit", "TotalOpLimit", "ExprGrpLimit")
)


@dataclass(frozen=True)
class Study:
    """A study on disk: the source series and the results made from them."""

    folder: Path
    results: dict[str, PipelineResult]
    written: list[WrittenObject]

    def of(self, kind: str, orientation: str, quantity: str = "") -> list[Path]:
        number = ORIENTATIONS.index(orientation) + 1
        return [
            self.folder / entry.path
            for entry in self.written
            if entry.kind == kind
            and entry.quantity == quantity
            and f"-series-{number}" in str(entry.path)
        ]


def written_source(folder: Path, orientation: str, number: int) -> SourceSeries:
    geometry = made_geometry(orientation)
    header = made_header(geometry, number)
    rng = np.random.default_rng(number)
    plane = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness",
             "SpacingBetweenSlices", "SOPClassUID", "SOPInstanceUID")  # fmt: skip
    paths = write_mr_series(
        folder / f"source-{number}",
        rng.integers(0, 1000, (*geometry.spatial_shape, 2)).astype(np.float32),
        geometry.affine,
        uid_prefix=STUDY_UID,
        common={e.keyword: e.value for e in header if e.keyword not in plane},
    )
    slices = geometry.spatial_shape[0]
    datasets = [dcmread(path, stop_before_pixels=True) for path in paths]
    return SourceSeries(
        header=datasets[0],
        images=tuple(
            SourceImage(path, d.SOPClassUID, d.SOPInstanceUID, slices=(k % slices,))
            for k, (path, d) in enumerate(zip(paths, datasets, strict=True))
        ),
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    results = {
        orientation: replace(
            made_result(orientation, names=MAPS, pipeline=("diffusion", "cest_mt")[number % 2]),
            source=written_source(folder, orientation, number),
        )
        for number, orientation in enumerate(ORIENTATIONS, start=1)
    }
    created = datetime(2026, 1, 2, 3, 4, 5)
    made = list(results.values())
    written = write_results(made, folder, ResultsSettings(summary=False), created)
    written += write_summary(plan_results(made, created)[0], folder)  # slow to draw: one page
    return Study(folder, results, written)


def messages(command: list[str], **environment: str) -> list[str]:
    """What a validator prints, line by line."""
    run = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, **environment}
    )
    assert run.returncode >= 0, f"{command[0]} was killed by signal {-run.returncode}"
    return (run.stdout + run.stderr).decode(errors="replace").splitlines()


def errors(build: str, path: Path, tool: Tool) -> list[str]:
    lines = messages([tool(str(BUILDS[build] / "dciodvfy")), str(path)])
    assert lines, "dciodvfy names at least the object"
    return [line for line in lines if line.startswith("Error") and KNOWN_MESSAGE not in line]


@pytest.mark.parametrize("build", BUILDS)
def test_every_kind_of_object_has_no_error(build: str, study: Study, tool: Tool) -> None:
    # Slices of one series share all but their position; the orientations share all but that.
    chosen = [
        entry
        for entry in study.written
        if entry.sop_class_uid
        and entry.path.parts[0].endswith(("-1", "-4"))
        and ("viewer image" not in entry.kind or entry.path.stem == "0001")
    ]
    assert {e.kind for e in chosen} == {
        "parametric map", "viewer image", "colour map", "colour viewer image", "segmentation",
        "measurement report", "summary page",
    }  # fmt: skip
    found = {str(e.path): errors(build, study.folder / e.path, tool) for e in chosen}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("build", BUILDS)
def test_the_study_is_consistent_and_complete(build: str, study: Study, tool: Tool) -> None:
    files = [str(path) for path in sorted(study.folder.rglob("*.dcm"))]
    lines = messages([tool(str(BUILDS[build] / "dcentvfy")), *files])
    assert [line for line in lines if line.strip() and KNOWN_ENTITY not in line] == []


def test_the_report_follows_its_template(study: Study, tool: Tool) -> None:
    (path,) = study.of("measurement report", "oblique")
    lines = messages([tool("DicomSRValidator"), str(path)], JAVA_TOOL_OPTIONS=XPATH_LIMITS)
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines
    assert "IOD validation complete" in lines
    assert [line for line in lines if line.startswith(("Error", "Warning"))] == []


HEADERS = {
    "Siemens XA30 enhanced": "dwi_siemens_xa30_enhanced/dicom/10_DWI_dir80_PA",
    "Philips classic": "dwi_philips_classic",
    "UIH mosaic": "dwi_uih_mosaic",
    "GE classic": "dwi_ge_phantom",
}


@pytest.mark.parametrize("vendor", HEADERS)
def test_real_headers_make_valid_objects(
    vendor: str, shared_data: SharedData, tool: Tool, tmp_path: Path
) -> None:
    name, _, rest = HEADERS[vendor].partition("/")
    source = real_source(shared_data(name) / rest)
    geometry = made_geometry("axial")
    same_frame = hd.VolumeGeometry(
        geometry.affine, geometry.spatial_shape, "PATIENT", source.header.FrameOfReferenceUID
    )
    made = made_result("axial", names=("mean_diffusivity",))
    result = replace(
        made,
        source=source,
        maps=tuple(replace(m, volume=same_frame.with_array(m.volume.array)) for m in made.maps),
        segments=tuple(
            replace(s, volume=same_frame.with_array(s.volume.array)) for s in made.segments
        ),
    )
    written = write_results([result], tmp_path, ResultsSettings(summary=False))
    kinds = {entry.kind: tmp_path / entry.path for entry in written}
    found = {kind: errors(b, path, tool) for kind, path in kinds.items() for b in BUILDS}
    assert {kind: lines for kind, lines in found.items() if lines} == {}


def real_source(folder: Path) -> SourceSeries:
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and is_dicom(p)]
    header = dcmread(paths[0], stop_before_pixels=True)
    return SourceSeries(
        header=header,
        images=(SourceImage(paths[0], header.SOPClassUID, header.SOPInstanceUID),),
    )


def is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def values_at(path: Path, volume: hd.Volume) -> np.ndarray:
    """Values that another reader's NIfTI file gives at the positions of our voxels."""
    image = nibabel.load(path)
    affine = np.diag([-1, -1, 1, 1]) @ image.affine  # RAS to LPS
    indices = np.indices(volume.spatial_shape).reshape(3, -1)
    positions = volume.affine @ np.vstack([indices, np.ones(indices.shape[1])])
    theirs = np.linalg.solve(affine, positions)[:3]
    nearest = np.rint(theirs).astype(int)
    assert np.abs(theirs - nearest).max() < 1e-3, "voxels lie elsewhere"
    assert image.shape[:3] == tuple(nearest.max(axis=1) + 1)
    return np.asanyarray(image.dataobj)[tuple(nearest)].reshape(volume.spatial_shape)


@pytest.mark.parametrize("quantity", MAPS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_reads_the_same_map_in_the_same_place(
    orientation: str, quantity: str, study: Study, tool: Tool, tmp_path: Path
) -> None:
    (path,) = study.of("parametric map", orientation, quantity)
    reader = tool(str(DCMQI / "paramap2itkimage"))
    command = [reader, "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "-t", "nifti"]
    subprocess.run(command, check=True, capture_output=True)
    (ours,) = [m for m in study.results[orientation].maps if m.quantity.name == quantity]
    theirs = values_at(tmp_path / "pmap.nii.gz", ours.volume)
    np.testing.assert_array_equal(theirs.astype(np.float32), ours.volume.array)
    stated = json.loads((tmp_path / "meta.json").read_text())
    assert stated["QuantityValueCode"]["CodeValue"] == ours.quantity.code.value
    assert stated["MeasurementUnitsCode"]["CodeValue"] == ours.quantity.unit.value
    assert stated["AnatomicRegionSequence"]["CodeMeaning"] == "Brain"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_reads_the_same_segments_in_the_same_place(
    orientation: str, study: Study, tool: Tool, tmp_path: Path
) -> None:
    (path,) = study.of("segmentation", orientation)
    reader = tool(str(DCMQI / "segimage2itkimage"))
    command = [reader, "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "-t", "nifti"]
    subprocess.run(command, check=True, capture_output=True)
    for number, segment in enumerate(study.results[orientation].segments, start=1):
        theirs = values_at(tmp_path / f"{number}.nii.gz", segment.volume)
        np.testing.assert_array_equal(theirs > 0, segment.volume.array > 0)
    labels = [
        item["SegmentLabel"]
        for group in json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"]
        for item in group
    ]
    assert labels == ["Brain", "White matter"]


@pytest.mark.parametrize("orientation", ORIENTATIONS[:3])
def test_dcm2niix_reads_the_viewable_copy_in_the_same_place(
    orientation: str, study: Study, tool: Tool, tmp_path: Path
) -> None:
    folder = study.of("viewer image", orientation, "t1")[0].parent
    command = [tool("dcm2niix"), "-f", "map", "-o", str(tmp_path), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    (ours,) = [m for m in study.results[orientation].maps if m.quantity.name == "t1"]
    theirs = values_at(tmp_path / "map.nii", ours.volume)
    np.testing.assert_allclose(theirs, ours.volume.array, atol=0.501)


def test_dcmqi_reads_the_same_measurements(study: Study, tool: Tool, tmp_path: Path) -> None:
    (path,) = study.of("measurement report", "oblique")
    output = tmp_path / "measurements.json"
    reader = tool(str(DCMQI / "tid1500reader"))
    command = [reader, "--inputDICOM", str(path), "--outputMetadata", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    groups = json.loads(output.read_text())["Measurements"]
    theirs = {
        (group["TrackingIdentifier"], item["quantity"]["CodeValue"],
         item["derivationModifier"]["CodeMeaning"]): float(item["value"])
        for group in groups
        for item in group["measurementItems"]
        if "derivationModifier" in item
    }  # fmt: skip
    result = study.results["oblique"]
    codes = {m.quantity.name: m.quantity.code.value for m in result.maps}
    ours = {
        (m.segment, codes[m.quantity], derivation): value
        for m in result.measurements()
        for derivation, value in (
            ("Mean", m.mean),
            ("Standard Deviation", m.standard_deviation),
            ("Median", m.median),
            ("Fifth percentile", m.percentile_5),
            ("Ninety-fifth percentile", m.percentile_95),
        )
    }
    assert theirs == pytest.approx(ours, rel=1e-9)
    assert [group["ReferencedSegment"] for group in groups] == [1, 2]


def test_other_peoples_results_pass_the_same_reader(
    shared_data: SharedData, tool: Tool, tmp_path: Path
) -> None:
    """The readers are alive: they read what their authors wrote."""
    path = shared_data("dicom_results_by_dcmqi") / "data" / "sr-example" / "sr.dcm"
    output = tmp_path / "sr.json"
    reader = tool(str(DCMQI / "tid1500reader"))
    command = [reader, "--inputDICOM", str(path), "--outputMetadata", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads(output.read_text())["Measurements"]
