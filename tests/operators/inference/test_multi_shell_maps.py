"""Kurtosis and NODDI maps of whole acquisitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_brains import S0, made_brain, table_of

from models.diffusion.noddi import noddi_signal
from models.diffusion.prior import NETWORKS
from models.diffusion.signal import dki_signal
from operators.inference.bundle import read_bundle
from operators.inference.diffusion import analyse_diffusion
from operators.inference.prior_session import TENSOR_PRIOR, PriorNetwork
from operators.inference.settings import DiffusionSettings, PriorSettings
from operators.vocabulary.result import PipelineResult

TABLE = table_of(24, (1000.0, 2000.0))
NOISE = 8.0


def noisy(clean: np.ndarray) -> np.ndarray:
    draws = np.random.default_rng(1).normal(0, NOISE, (2, *clean.shape))
    return np.hypot(clean + draws[0], draws[1]).astype(np.float32)


def result_of(acquisition_of, pixels: np.ndarray, weight: float, model: str) -> PipelineResult:
    prior = PriorNetwork({TENSOR_PRIOR: read_bundle(NETWORKS / TENSOR_PRIOR)}, "cpu")
    settings = DiffusionSettings(prior=PriorSettings(weight=weight, seeds=2), models=(model,))
    return analyse_diffusion(acquisition_of(pixels, TABLE), settings, prior).result


def array_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array for one in result.maps if one.quantity.name == name)


def segment_of(result: PipelineResult, name: str) -> np.ndarray:
    return next(one.volume.array > 0 for one in result.segments if one.name == name)


@pytest.fixture(scope="module")
def kurtosis_pixels() -> np.ndarray:
    """Isotropic kurtosis .8 everywhere: MK, AK and RK follow from the tensor."""
    brain = made_brain()
    level = torch.as_tensor(S0 * brain.inside)
    isotropic = torch.zeros(15, dtype=torch.float64)
    isotropic[:3], isotropic[9:12] = 0.8, 0.8 / 3
    clean = dki_signal(
        level,
        torch.as_tensor(np.where(brain.fluid[..., None], brain.tensor / 3, brain.tensor)),
        isotropic.expand(*level.shape, 15),
        torch.as_tensor(TABLE.b_values),
        torch.as_tensor(TABLE.directions),
    )
    return noisy(clean.numpy())


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_kurtosis_of_grey_matter_is_what_was_put_in(acquisition_of, kurtosis_pixels, weight):
    """Where the tensor is isotropic all three are W."""
    result = result_of(acquisition_of, kurtosis_pixels, weight, "kurtosis")
    brain = made_brain()
    grey = brain.grey & segment_of(result, "Gray matter by FA")
    for name in ("mean_kurtosis", "axial_kurtosis", "radial_kurtosis"):
        assert np.median(array_of(result, name)[grey]) == pytest.approx(0.8, abs=0.12)
        deviation = array_of(result, f"{name}_sd")[grey]
        assert (deviation > 0).mean() > 0.95
    error = np.abs(array_of(result, "mean_kurtosis") - 0.8)[grey]
    within = (error < array_of(result, "mean_kurtosis_sd")[grey]).mean()
    assert 0.35 < within < 0.9


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_noddi_finds_density_dispersion_and_water(acquisition_of, weight):
    brain = made_brain()
    shape = brain.inside.shape
    ndi = np.where(brain.white, 0.6, 0.4)
    odi = np.where(brain.white, 0.15, 0.6)
    fwf = np.where(brain.fluid, 0.98, 0.05)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    along = np.stack((-y, x, 0 * x), axis=-1) / np.maximum(np.hypot(x, y), 1e-9)[..., None]
    clean = noddi_signal(
        *(
            torch.as_tensor(np.ascontiguousarray(values)).reshape(-1, *values.shape[3:])
            for values in (
                S0 * brain.inside,
                ndi,
                odi,
                fwf,
                np.broadcast_to(along, (*shape, 3)),
            )
        ),
        torch.as_tensor(TABLE.b_values),
        torch.as_tensor(TABLE.directions),
    )
    result = result_of(acquisition_of, noisy(clean.numpy().reshape(*shape, -1)), weight, "noddi")
    for tissue, expected in ((brain.white, (0.6, 0.15, 0.05)), (brain.grey, (0.4, 0.6, 0.05))):
        names = ("neurite_density", "orientation_dispersion", "free_water_fraction")
        for name, truth in zip(names, expected, strict=True):
            inside = tissue & segment_of(result, "Brain")
            assert np.median(array_of(result, name)[inside]) == pytest.approx(truth, abs=0.06)
    found = segment_of(result, "Fluid by MD")
    assert 2 * (found & brain.fluid).sum() / (found.sum() + brain.fluid.sum()) > 0.85
    assert "noddi-in-water" in {one.code for one in result.findings}
