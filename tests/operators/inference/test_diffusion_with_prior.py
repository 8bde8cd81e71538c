"""The prior adapted to whole acquisitions: values, uncertainty, flags, frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from made_brains import MadeBrain, made_brain, signals_of, table_of

from models.diffusion.prior import NETWORKS
from operators.inference.bundle import read_bundle
from operators.inference.diffusion import analyse_diffusion
from operators.inference.prior_session import TENSOR_PRIOR, PriorNetwork
from operators.inference.settings import DiffusionSettings, PriorSettings
from operators.inference.tensor_field import DiffusionAnalysis
from operators.vocabulary.acquisition import Acquisition, GradientTable
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult

NOISE = 40.0


@pytest.fixture(scope="module")
def prior() -> PriorNetwork:
    return PriorNetwork({TENSOR_PRIOR: read_bundle(NETWORKS / TENSOR_PRIOR)}, "cpu")


@pytest.fixture(scope="module")
def brain() -> MadeBrain:
    return made_brain()


@pytest.fixture(scope="module")
def table() -> GradientTable:
    return table_of(6)


@pytest.fixture(scope="module")
def pixels(brain: MadeBrain, table: GradientTable) -> np.ndarray:
    return signals_of(brain, table, NOISE)


@pytest.fixture
def acquisition(acquisition_of: Callable[..., Acquisition], pixels, table) -> Acquisition:
    return acquisition_of(pixels, table)


def settings(**prior: float) -> DiffusionSettings:
    return DiffusionSettings(prior=PriorSettings(**prior))


def array_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array for one in result.maps if one.quantity.name == name)


def segment_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array > 0 for one in result.segments if one.name == name)


def codes(result: PipelineResult) -> set[str]:
    return {finding.code for finding in result.findings}


@pytest.fixture
def adapted(acquisition: Acquisition, prior: PriorNetwork) -> DiffusionAnalysis:
    return analyse_diffusion(acquisition, settings(), prior)


def test_few_noisy_directions_come_nearer_to_the_truth(acquisition, adapted, prior, brain):
    plain = analyse_diffusion(acquisition, settings(weight=0), prior).result
    for tissue in (brain.white, brain.grey):
        errors = [
            np.abs(array_of(result, "fractional_anisotropy") - brain.anisotropy)[tissue].mean()
            for result in (plain, adapted.result)
        ]
        assert errors[1] < 0.75 * errors[0]
    assert "deviation-from-plain-fit" in codes(adapted.result)


def test_weight_zero_is_the_plain_fit_and_needs_no_network(acquisition, prior):
    with_network = analyse_diffusion(acquisition, settings(weight=0), prior).result
    without = analyse_diffusion(acquisition, settings(weight=0), PriorNetwork({})).result
    nearly = analyse_diffusion(acquisition, settings(weight=1e-9), prior).result
    for name in ("fractional_anisotropy", "mean_diffusivity", "axial_diffusivity"):
        assert np.array_equal(array_of(with_network, name), array_of(without, name))
        # 1e-4 of FA, and of µm²/ms
        unit = 1.0 if name == "fractional_anisotropy" else 1e-3
        inside = segment_of(without, "Brain") & segment_of(nearly, "Brain")
        difference = np.abs(array_of(nearly, name) - array_of(without, name))[inside]
        assert difference.max() < 1e-4 * unit
    assert without.algorithm.model_sha256 == {}
    assert without.algorithm.execution_provider == "torch cpu"
    assert "prior_data_share" not in {one.quantity.name for one in without.maps}


def test_equal_seeds_give_equal_maps_and_others_do_not(acquisition, adapted, prior):
    name = "fractional_anisotropy"
    again = analyse_diffusion(acquisition, settings(), prior).result
    other = analyse_diffusion(acquisition, settings(first_seed=100), prior).result
    assert np.array_equal(array_of(again, name), array_of(adapted.result, name))
    assert not np.array_equal(array_of(other, name), array_of(adapted.result, name))
    assert other.algorithm.configuration != adapted.result.algorithm.configuration


def test_uncertainty_and_share_of_the_data_are_told_in_the_brain(adapted):
    result = adapted.result
    brain, floor = segment_of(result, "Brain"), segment_of(result, "Signal at noise floor")
    share = array_of(result, "prior_data_share")
    assert (share[brain & ~floor] > 0).all()
    assert share.max() <= 1
    assert not share[~brain & ~floor].any()
    driven = segment_of(result, "Decided by the prior")
    assert np.array_equal(driven, brain & ~floor & (share < 0.5))
    made = {one.quantity.name for one in result.maps}
    for name in ("b0", "fractional_anisotropy", "mean_diffusivity", "axial_diffusivity"):
        assert f"{name}_sd" in made
        assert (array_of(result, f"{name}_sd")[brain] > 0).all()


def test_the_sd_is_as_large_as_the_error(adapted, brain):
    """Of a Gaussian, 68 % lie within one SD; the made brain is no brain of the training."""
    result = adapted.result
    inside = (brain.white | brain.grey) & segment_of(result, "Brain")
    truth = np.where(brain.white, 0.7e-3, 0.85e-3)
    error = np.abs(array_of(result, "mean_diffusivity") - truth)
    within = (error < array_of(result, "mean_diffusivity_sd"))[inside].mean()
    assert 0.45 < within < 0.85


def test_the_result_says_which_network_made_it(adapted):
    algorithm = adapted.result.algorithm
    bundle = read_bundle(NETWORKS / TENSOR_PRIOR)
    assert algorithm.model_sha256 == {f"{TENSOR_PRIOR}/model.onnx": bundle.metadata.model.sha256}
    assert algorithm.execution_provider == "CPUExecutionProvider"
    assert algorithm.configuration["prior weight"] == "0.7"
    assert algorithm.configuration["prior seeds"] == "4 from 0"


def test_signal_at_the_noise_floor_is_flagged_and_never_the_prior_s_guess(
    acquisition_of, pixels, table, brain, prior
):
    dark = pixels.copy()
    place = np.zeros(brain.inside.shape, dtype=bool)
    place[4:6, 14:20, 20:26] = True
    place &= brain.inside
    dark[place] = np.abs(np.random.default_rng(5).normal(0, NOISE, dark[place].shape))
    acquisition = acquisition_of(dark, table)
    result = analyse_diffusion(acquisition, settings(), prior).result
    plain = analyse_diffusion(acquisition, settings(weight=0), prior).result
    flagged = segment_of(result, "Signal at noise floor")
    assert flagged[place].mean() > 0.5
    for name in ("fractional_anisotropy", "mean_diffusivity"):
        assert np.array_equal(array_of(result, name)[flagged], array_of(plain, name)[flagged])
    for tissue in ("White matter by FA", "Gray matter by FA", "Fluid by MD"):
        assert not (segment_of(result, tissue) & flagged).any()
    assert "signal-at-noise-floor" in codes(result)


def test_tissues_are_told_apart_and_compared_left_with_right(adapted, brain):
    result = adapted.result
    for name, truth in (
        ("White matter by FA", brain.white),
        ("Gray matter by FA", brain.grey),
        ("Fluid by MD", brain.fluid),
    ):
        found = segment_of(result, name)
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    assert adapted.plane is not None
    ratios = {(one.segment, one.quantity): one.value for one in result.ratios()}
    for tissue in ("White matter by FA", "Gray matter by FA"):
        assert ratios[f"{tissue}, left", "mean_diffusivity"] == pytest.approx(1, abs=0.03)
        left, right = (segment_of(result, f"{tissue}, {side}") for side in ("left", "right"))
        assert not (left & right).any()
        assert np.array_equal(left | right, segment_of(result, tissue))
        # Columns run to the patient's left.
        assert np.argwhere(left)[:, 2].mean() > np.argwhere(right)[:, 2].mean()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_directions_are_those_of_the_patient_however_the_slices_lie(
    acquisition_of, pixels, table, brain, prior, weight
):
    """The same head in sagittal slices: same tensors, same colours, place by place."""
    axial = acquisition_of(pixels, table)
    sagittal_pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1, 3)[:, ::-1])
    affine = axial.geometry.affine
    turned = affine[:, [2, 0, 1, 3]].copy()
    turned[:3, 1] *= -1
    turned[:3, 3] = affine[:3, 3] + affine[:3, 0] * (pixels.shape[0] - 1)
    sagittal = acquisition_of(
        sagittal_pixels,
        table,
        geometry=hd.VolumeGeometry(
            turned,
            sagittal_pixels.shape[:3],
            "PATIENT",
            frame_of_reference_uid=axial.geometry.frame_of_reference_uid,
        ),
    )
    fields = [
        analyse_diffusion(one, settings(weight=weight), prior).field for one in (axial, sagittal)
    ]
    back = np.moveaxis(fields[1].principal[:, ::-1], 0, 2)
    white = fields[0].mask & np.moveaxis(fields[1].mask[:, ::-1], 0, 2) & brain.white
    between = np.abs((fields[0].principal * back).sum(axis=-1))[white]
    assert np.degrees(np.arccos(np.clip(np.median(between), 0, 1))) < 5
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in pixels.shape[1:3]), indexing="ij")
    along = np.stack((-y, x, 0 * x), axis=-1) / np.hypot(x, y)[..., None]
    to_truth = np.abs((fields[0].principal * along).sum(axis=-1))[white]
    assert np.degrees(np.arccos(np.clip(np.median(to_truth), 0, 1))) < 8


def test_the_prior_keeps_out_of_what_is_no_brain(acquisition_of, pixels, table, prior):
    result = analyse_diffusion(
        acquisition_of(pixels, table, body_part="LIVER"), settings(), prior
    ).result
    assert "prior-not-used" in codes(result)
    assert result.algorithm.configuration["prior weight"] == "0"
    assert result.algorithm.model_sha256 == {}


@pytest.mark.parametrize(("noise", "code"), [(1.0, "noise-level"), (1e-6, "no-noise")])
def test_images_without_noise_are_told(acquisition_of, brain, table, prior, noise, code):
    acquisition = acquisition_of(signals_of(brain, table, noise), table)
    result = analyse_diffusion(acquisition, settings(weight=0), prior).result
    assert {"noise-level", "no-noise"} & codes(result) == {code}


def test_without_an_unweighted_volume_neither_prior_nor_noise_can_be_told(
    acquisition_of, brain, prior
):
    shells = table_of(10, (500.0, 1000.0))
    table = GradientTable(shells.b_values[1:], shells.directions[1:])
    pixels = signals_of(brain, table, NOISE)
    result = analyse_diffusion(acquisition_of(pixels, table), settings(), prior).result
    assert {"no-unweighted-volume", "prior-not-used", "models-not-supported"} <= codes(result)
    assert not [one for one in result.maps if one.quantity.name.endswith("_sd")]
    inside = segment_of(result, "Brain") & brain.grey
    found = np.median(array_of(result, "mean_diffusivity")[inside])
    assert found == pytest.approx(0.85e-3, rel=0.05)


def test_without_its_network_a_brain_is_refused(acquisition, tmp_path: Path):
    with pytest.raises(Refusal, match="prior_dti") as refused:
        analyse_diffusion(acquisition, settings(), PriorNetwork({}))
    assert refused.value.rule == "no-prior-network"
    assert refused.value.series_number == 7
