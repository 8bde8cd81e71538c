"""Real series of four vendors, and real series that must be refused, through the whole chain."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from application_process import objects_in, result_in, run
from multi_shell_study import write_multi_shell_series

from app.result_file import ResultFile, RunStatus


@pytest.mark.parametrize(
    ("folder", "analysed"),
    [
        ("dwi_philips_classic", 1),
        pytest.param("dwi_uih_mosaic", 2, marks=pytest.mark.slow),
        pytest.param("dwi_ge_phantom", 2, marks=pytest.mark.slow),
    ],
)
def test_a_diffusion_study_of_every_vendor_succeeds(shared_data, tmp_path, folder, analysed):
    process = run("-i", shared_data(folder), "-o", tmp_path)
    assert process.returncode == 0, process.stderr
    result = result_in(tmp_path)
    assert result.status is RunStatus.SUCCESS
    assert len(result.inputs_used) == analysed
    assert {written.path for written in result.outputs} == set(objects_in(tmp_path))


def published_map(result: ResultFile, folder: Path, quantity: str) -> np.ndarray:
    """(slices, rows, columns) of the float map of ``quantity``, by slice position."""
    (written,) = [
        output
        for output in result.outputs
        if output.quantity == quantity and output.kind == "parametric map"
    ]
    data_set = pydicom.dcmread(folder / written.path)
    heights = [frame_height(group) for group in data_set.PerFrameFunctionalGroupsSequence]
    frames = np.frombuffer(data_set.FloatPixelData, np.float32)
    return frames.reshape(-1, data_set.Rows, data_set.Columns)[np.argsort(heights)]


def frame_height(group: pydicom.Dataset) -> float:
    return float(group.PlanePositionSequence[0].ImagePositionPatient[2])


def scanner_map(folder: Path, series_number: int) -> np.ndarray:
    """(slices, rows, columns) stored integers of one of the scanner's own maps."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and pydicom.misc.is_dicom(path):
            data_set = pydicom.dcmread(path)
            if data_set.SeriesNumber == series_number:
                heights = [frame_height(g) for g in data_set.PerFrameFunctionalGroupsSequence]
                return data_set.pixel_array[np.argsort(heights)].astype(float)
    raise AssertionError(f"no series {series_number} in {folder}")


def test_published_maps_equal_those_of_the_scanner(shared_data, tmp_path):
    """XA30 fits by ordinary least squares; its ADC is in 1e-6 mm²/s, its FA times 1000."""
    study = shared_data("dwi_siemens_xa30_enhanced")
    settings = ("pipelines.diffusion.fit=ordinary", "pipelines.diffusion.prior.weight=0")
    process = run("-i", study, "-o", tmp_path, *[f"--set={one}" for one in settings])
    assert process.returncode == 0, process.stderr
    result = result_in(tmp_path)
    for quantity, number, scale in (
        ("mean_diffusivity", 11, 1e6),
        ("fractional_anisotropy", 13, 1e3),
    ):
        ours = published_map(result, tmp_path, quantity) * scale
        theirs = scanner_map(study, number)
        compared = (ours > 0) & (theirs > 0)
        assert compared.mean() > 0.1
        correlation = np.corrcoef(ours[compared], theirs[compared])[0, 1]
        assert correlation >= 0.999, (quantity, correlation)
        slope = (ours[compared] @ theirs[compared]) / (theirs[compared] @ theirs[compared])
        assert slope == pytest.approx(1, abs=0.005), (quantity, slope)


def test_a_two_shell_study_gives_kurtosis_and_noddi_as_dicom(shared_data, tmp_path):
    study, out = tmp_path / "study", tmp_path / "out"
    write_multi_shell_series(shared_data("dwi_multishell_human"), study)
    process = run("-i", study, "-o", out)
    assert process.returncode == 0, process.stderr
    result = result_in(out)
    made = {one.quantity for one in result.outputs if one.kind == "parametric map"}
    wanted = {
        "mean_kurtosis",
        "axial_kurtosis",
        "radial_kurtosis",
        "neurite_density",
        "orientation_dispersion",
        "free_water_fraction",
    }
    assert wanted | {f"{name}_sd" for name in wanted} | {"prior_data_share"} <= made
    (path,) = [
        one.path
        for one in result.outputs
        if one.quantity == "mean_kurtosis" and one.kind == "parametric map"
    ]
    shared = pydicom.dcmread(out / path).SharedFunctionalGroupsSequence[0]
    definition = shared.RealWorldValueMappingSequence[0].QuantityDefinitionSequence[0]
    code = definition.ConceptCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113205", "DCM")
    (segmentation,) = [one.path for one in result.outputs if one.kind == "segmentation"]
    labels = {item.SegmentLabel for item in pydicom.dcmread(out / segmentation).SegmentSequence}
    assert {"Brain", "White matter by FA", "Gray matter by FA", "Fluid by MD"} <= labels
    # A region without a voxel is not written: the data decide everywhere in 103 volumes, or not.
    (path,) = [
        one.path
        for one in result.outputs
        if one.quantity == "prior_data_share" and one.kind == "parametric map"
    ]
    share = np.frombuffer(pydicom.dcmread(out / path).FloatPixelData, "<f4")
    driven = (share > 0) & (share < 0.5)
    assert ("Decided by the prior" in labels) == bool(driven.any())
    (pipeline,) = [one for one in result.pipelines if one.name == "diffusion"]
    assert list(pipeline.models) == ["prior_dti/model.onnx"]


def test_series_that_must_be_refused_are_refused_with_the_reason(shared_data, tmp_path):
    process = run("-i", shared_data("mr_series_that_must_be_refused"), "-o", tmp_path)
    assert process.returncode == 3
    result = result_in(tmp_path)
    assert result.status is RunStatus.FAILED
    assert objects_in(tmp_path) == {}
    rules = {refusal.rule for refusal in result.refusals}
    assert {"gantry-tilt", "uneven-slice-spacing", "missing-slices"} <= rules
    for refusal in result.refusals:
        assert refusal.series in process.stderr
        assert refusal.remedy in process.stderr


def test_malformed_files_beside_a_good_series(shared_data, small_study, tmp_path):
    malformed = shared_data("malformed_dicom")
    study, out = tmp_path / "study", tmp_path / "out"
    shutil.copytree(malformed, study / "malformed")
    shutil.copytree(small_study, study / "good")
    process = run("-i", study, "-o", out)
    assert process.returncode == 0, process.stderr
    result = result_in(out)
    assert [series.images for series in result.inputs_used] == [35]
    accounted = {skipped.path for skipped in result.inputs_skipped}
    files = {path.relative_to(study).as_posix() for path in (study / "malformed").rglob("*.dcm")}
    left_alone = sum(series.images for series in result.inputs_not_used)
    assert len(files) > 100
    assert len(files - accounted) == left_alone
