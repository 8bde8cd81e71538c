"""Tensor maps of real DICOM series beside the scanner's own maps, DIPY and MRtrix3."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel

from models.diffusion.tensor_fit import TensorLeastSquares
from operators.inference.diffusion import analyse_diffusion
from operators.inference.prior_session import PriorNetwork
from operators.inference.settings import DiffusionSettings, PriorSettings
from operators.ingest.acquire import acquire
from operators.ingest.settings import IngestSettings
from operators.vocabulary.acquisition import Acquisition, GradientTable
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import AcquiredStudy

SERIES = {
    "dwi_siemens_xa30_enhanced": 10,
    "dwi_philips_classic": 601,
    "dwi_uih_mosaic": 9,
}


@pytest.fixture(scope="module")
def study(shared_data: Callable[[str], Path]) -> Callable[[str], AcquiredStudy]:
    read: dict[str, AcquiredStudy] = {}

    def of(name: str) -> AcquiredStudy:
        if name not in read:
            read[name] = acquire(shared_data(name) / "dicom", IngestSettings())
        return read[name]

    return of


def numbered(study: AcquiredStudy, number: int) -> Acquisition:
    return next(one for one in study.acquisitions if one.source.series_number == number)


def array_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array for one in result.maps if one.quantity.name == name)


def analyse(series: Acquisition, settings: DiffusionSettings) -> PipelineResult:
    plain = settings.model_copy(update={"prior": PriorSettings(weight=0)})
    return analyse_diffusion(series, plain, PriorNetwork({})).result


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def test_the_ordinary_fit_is_the_scanner_s_own(study):
    """Series 11 and 13 are the ADC and FA that the scanner made of series 10 (XA30)."""
    xa30 = study("dwi_siemens_xa30_enhanced")
    series = numbered(xa30, 10)
    result = analyse(series, DiffusionSettings(fit="ordinary"))
    brain = result.segments[0].volume.array > 0
    assert 1.2e6 < brain.sum() * np.prod(series.geometry.spacing) < 1.8e6, "a brain, in mm³"
    for number, name, least_slope in (
        (11, "mean_diffusivity", 0.995),
        (13, "fractional_anisotropy", 0.99),
    ):
        scanner = numbered(xa30, number)
        assert scanner.geometry.geometry_equal(series.geometry)
        theirs = scanner.volume().array[..., 0]
        # The scanner leaves a few voxels of the brain at zero.
        both = brain & (theirs > 0)
        assert both.sum() > 0.995 * brain.sum()
        assert correlation(array_of(result, name)[both], theirs[both]) > 0.999
        slope = np.polyfit(theirs[both], array_of(result, name)[both], 1)[0]
        assert least_slope < slope < 2 - least_slope


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize(("fit", "method"), [("weighted", "WLS"), ("ordinary", "OLS")])
def test_both_fits_are_dipy_s(study, name, fit, method):
    series = numbered(study(name), SERIES[name])
    # One minimum for both, so that voxels with a signal of zero are compared too.
    settings = DiffusionSettings(fit=fit, minimum_signal=1e-4)
    result = analyse(series, settings)
    brain = result.segments[0].volume.array > 0
    assert isinstance(series.protocol, GradientTable)
    table = gradient_table(
        series.protocol.b_values, bvecs=series.protocol.directions, b0_threshold=50
    )
    signals = series.volume().array[brain].astype(np.float64)
    theirs = TensorModel(table, fit_method=method).fit(signals)
    for quantity, expected in (
        ("mean_diffusivity", theirs.md),
        ("fractional_anisotropy", theirs.fa),
        ("axial_diffusivity", theirs.ad),
        ("radial_diffusivity", theirs.rd),
    ):
        ours = array_of(result, quantity)[brain]
        assert correlation(ours, expected) > 0.999999
        assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()
    colours = result.colour_maps[0].volume.array[brain] / 255
    expected_colours = np.abs(theirs.evecs[:, :, 0]) * theirs.fa[:, None]
    assert np.abs(colours - expected_colours)[theirs.fa > 0.2].max() < 0.01


def test_the_ordinary_fit_and_its_directions_are_mrtrix3_s(study, tool, tmp_path):
    """Its weighted fit is another: it starts from measured signals and repeats."""
    dwi2tensor, tensor2metric = tool("dwi2tensor"), tool("tensor2metric")
    series = numbered(study("dwi_philips_classic"), 601)
    result = analyse(series, DiffusionSettings(fit="ordinary"))
    table = series.protocol
    assert isinstance(table, GradientTable)
    # NIfTI and MRtrix3 are RAS; bvecs of FSL's kind would depend on the storage order.
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    nib.save(
        nib.Nifti1Image(series.volume().array, to_ras @ series.geometry.affine),
        tmp_path / "dwi.nii",
    )
    scheme = np.c_[table.directions * [-1, -1, 1], table.b_values]
    np.savetxt(tmp_path / "grad.b", scheme)
    for command in (
        [dwi2tensor, "dwi.nii", "-grad", "grad.b", "-ols", "-iter", "0", "tensor.mif"],
        [tensor2metric, "tensor.mif", "-fa", "fa.nii", "-adc", "md.nii", "-vector", "v1.nii"],
    ):
        subprocess.run([*command, "-quiet"], cwd=tmp_path, check=True, timeout=120)
    positive = (series.volume().array > 0).all(axis=-1)
    brain = (result.segments[0].volume.array > 0) & positive
    for file, name in (("fa.nii", "fractional_anisotropy"), ("md.nii", "mean_diffusivity")):
        theirs = nib.load(tmp_path / file).get_fdata()
        assert correlation(array_of(result, name)[brain], theirs[brain]) > 0.9999
    # MRtrix3's vectors are in the patient (RAS) and FA long: absolute values are the colours.
    theirs = np.abs(nib.load(tmp_path / "v1.nii").get_fdata()[brain])
    colours = result.colour_maps[0].volume.array[brain] / 255
    clear = array_of(result, "fractional_anisotropy")[brain] > 0.3
    assert np.median(np.abs(colours - theirs)[clear]) < 0.005


@pytest.mark.parametrize(("number", "turned"), [(9, False), (12, True)])
def test_the_corpus_callosum_runs_from_left_to_right_in_any_grid(study, number, turned):
    """Series 12 was acquired in a grid that is turned by 25° in plane against the head."""
    series = numbered(study("dwi_uih_mosaic"), number)
    rows_of_grid = series.geometry.direction[:, 1]
    assert (abs(np.degrees(np.arcsin(rows_of_grid[0]))) > 20) == turned
    assert isinstance(series.protocol, GradientTable)
    result = analyse(series, DiffusionSettings())
    brain = result.segments[0].volume.array > 0
    fit = TensorLeastSquares(series.protocol.b_values, series.protocol.directions).fit(
        torch.from_numpy(series.volume().array[brain])
    )
    places = series.geometry.map_indices_to_reference(np.argwhere(brain))
    midline = np.abs(places[:, 0] - places[:, 0].mean()) < 8
    fibres = fit.principal.numpy()[
        midline & (array_of(result, "fractional_anisotropy")[brain] > 0.5)
    ]
    axis = np.linalg.eigh(fibres.T @ fibres)[1][:, -1]
    assert len(fibres) > 100
    assert np.degrees(np.arccos(abs(axis[0]))) < 15
