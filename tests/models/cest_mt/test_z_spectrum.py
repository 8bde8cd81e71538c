"""Water frequency, asymmetry and Lorentzian pools of spectra with known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cest_mt.least_squares import fit
from models.cest_mt.lorentzian import POOLS, can_fit_pools, fit_pools, pool_spectrum
from models.cest_mt.mtr_asymmetry import mtr_asymmetry, why_no_asymmetry
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.zspectrum import (
    SpectrumSamples,
    normalised,
    smoothed_field,
    spectrum_samples,
    water_line,
)

OFFSETS = np.concatenate(
    [[-100, -50, -20, -12], np.arange(-9, 9.1, 0.5), [12, 20, 50, 100]]
).astype(float)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


def spectra(voxels: int, seed: int = 1) -> tuple[torch.Tensor, np.ndarray]:
    """(parameters, Z) of voxels like brain at 7 T."""
    generator = np.random.default_rng(seed)
    ranges = [(-0.3, 0.3), (0.7, 0.9), (1.0, 2.0), (0.02, 0.08), (0.8, 2.5)]
    ranges += [(0.05, 0.15), (2.0, 4.0), (0.08, 0.2), (25, 60)]
    low, high = np.array(ranges).T
    parameters = torch.as_tensor(generator.uniform(low, high, (voxels, 9)))
    return parameters, pool_spectrum(torch.as_tensor(OFFSETS), parameters)[0].numpy()


def test_the_derivative_of_the_pools_is_that_of_finite_differences() -> None:
    x = torch.as_tensor(OFFSETS)
    parameters, _ = spectra(5)
    derivative = pool_spectrum(x, parameters)[1]
    exact = torch.autograd.functional.jacobian(
        lambda p: pool_spectrum_sum(x, p), parameters
    ).permute(1, 0, 2)
    assert torch.allclose(derivative, exact, atol=1e-10)


def pool_spectrum_sum(x: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """(samples, ) sum over voxels, rebuilt from the written equation, for autograd."""
    z = torch.zeros(len(x), dtype=x.dtype)
    for index, pool in enumerate(POOLS):
        half = parameters[:, 2 + 2 * index, None] / 2
        distance = x - parameters[:, :1] - pool.shift
        z = z - (parameters[:, 1 + 2 * index, None] * half**2 / (half**2 + distance**2)).sum(0)
    return z


def test_pools_are_recovered_from_a_clean_spectrum() -> None:
    parameters, z = spectra(200)
    found = fit_pools(OFFSETS, z, parameters[:, 0].numpy() + 0.05)
    assert np.allclose(found.amplitude, parameters[:, 1::2], atol=1e-3)
    assert np.allclose(found.shift, parameters[:, 0], atol=1e-3)
    assert not found.at_bound.any()


def test_errors_of_amplitudes_are_calibrated() -> None:
    parameters, z = spectra(1500)
    noisy = z + np.random.default_rng(2).normal(0, 0.005, z.shape)
    found = fit_pools(OFFSETS, noisy, parameters[:, 0].numpy())
    inside = ~found.at_bound.any(axis=1)
    assert inside.mean() > 0.5
    deviation = np.abs(found.amplitude - parameters[:, 1::2].numpy()) / found.amplitude_sd
    share = (deviation[inside] < 1).mean(axis=0)
    assert (share > 0.60).all(), share
    assert (share < 0.76).all(), share


def test_an_absent_pool_has_amplitude_zero_and_finite_errors_elsewhere() -> None:
    parameters, _ = spectra(50)
    parameters[:, 3] = 0.0
    z = pool_spectrum(torch.as_tensor(OFFSETS), parameters)[0].numpy()
    found = fit_pools(OFFSETS, z, np.zeros(50))
    assert np.abs(found.amplitude[:, 1]).max() < 1e-3
    assert np.isfinite(found.amplitude_sd[:, [0, 2, 3]]).all()


def test_pools_need_a_wide_spectrum() -> None:
    narrow = np.linspace(-4, 4, 33)
    assert not can_fit_pools(narrow)
    with pytest.raises(ValueError, match="both sides"):
        fit_pools(narrow, np.ones((1, 33)), np.zeros(1))


def test_the_water_frequency_follows_the_field_with_its_sign() -> None:
    """Simulated APT-weighted series of white matter, so that the sign is that of the physics."""
    schedule = load_schedule("aptw_3t")
    pools = _white_matter()
    shift = torch.tensor([-0.3, -0.1, 0.0, 0.05, 0.2, 0.3], dtype=torch.float64)
    signal = simulate(schedule, pools, b0_shift_ppm=shift).numpy()
    samples = spectrum_samples(schedule)
    z = normalised(signal, samples, schedule.m0_images)
    found = water_line(samples.offsets, z).shift
    assert np.allclose(found, shift, atol=0.03)
    corrected = mtr_asymmetry(samples.offsets, z, shift.numpy())
    assert np.ptp(corrected) < 0.1
    uncorrected = mtr_asymmetry(samples.offsets, z, np.zeros(6))
    assert np.ptp(uncorrected) > 5 * np.ptp(corrected)


def _white_matter():
    from models.cest_mt.pools import ExchangingPool, Lineshape, PoolModel

    return PoolModel(
        water_t1=1.0,
        water_t2=0.07,
        solutes=(ExchangingPool(0.001, 50.0, 1.0, 0.1, 3.5),),
        mt=ExchangingPool(0.1, 25.0, 1.0, 40e-6, 0.0),
        mt_lineshape=Lineshape.LORENTZIAN,
    )


def test_water_is_not_looked_for_where_there_is_none() -> None:
    _, z = spectra(3)
    z[0] = 0.9
    z[1, 5] = np.nan
    assert np.isnan(water_line(OFFSETS, z).shift).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="fewer than"):
        water_line(np.array([-3.5, 0, 3.5]), np.ones((1, 3)))


def test_asymmetry_of_a_symmetric_spectrum_is_zero_and_positive_for_amide() -> None:
    parameters, _ = spectra(20)
    x = torch.as_tensor(OFFSETS)
    water = parameters[:, 0].numpy()
    parameters[:, 4], parameters[:, 5], parameters[:, 7] = 2.0, 0.0, 0.0
    amide = mtr_asymmetry(OFFSETS, pool_spectrum(x, parameters)[0].numpy(), water)
    assert np.allclose(amide, 100 * parameters[:, 3], rtol=0.06)
    parameters[:, 3] = 0.0
    none = mtr_asymmetry(OFFSETS, pool_spectrum(x, parameters)[0].numpy(), water)
    assert np.abs(none).max() < 0.1


def test_asymmetry_never_extrapolates() -> None:
    offsets = np.arange(-4, 4.1, 0.5)
    z = np.ones((3, len(offsets)))
    found = mtr_asymmetry(offsets, z, np.array([0.0, 0.6, -0.6]))
    assert np.isnan(found).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        (np.arange(-4, 4.1, 0.5), ""),
        (np.array([-3.5, 0.0, 3.5]), ""),
        (np.arange(0, 6.1, 0.5), "-3.5"),
        (np.array([-6.0, -2, 0, 2, 3.5]), "-3.5"),
    ],
)
def test_why_no_asymmetry(offsets: np.ndarray, words: str) -> None:
    assert (words in why_no_asymmetry(offsets)) if words else why_no_asymmetry(offsets) == ""


def test_m0_is_interpolated_between_its_images() -> None:
    samples = SpectrumSamples(np.array([1, 2, 3, 5]), np.array([-1.0, 0, 1, 2]))
    signals = np.array([[100.0, 50, 50, 50, 200, 50]])
    z = normalised(signals, samples, (0, 4))
    assert np.allclose(z, [[50 / 125, 50 / 150, 50 / 175, 50 / 200]])
    assert not np.isfinite(normalised(np.zeros((1, 6)), samples, (0,))).any()


def test_a_spectrum_needs_m0_and_distinct_offsets() -> None:
    schedule = load_schedule("aptw_3t")
    with pytest.raises(ValueError, match="M0"):
        spectrum_samples(replace(schedule, m0_images=()))
    offsets = schedule.offsets.copy()
    offsets[2] = offsets[1]
    with pytest.raises(ValueError, match="more than once"):
        spectrum_samples(replace(schedule, offsets=offsets))


def test_a_smoothed_field_keeps_a_gradient_and_its_unknown_voxels() -> None:
    field = np.tile(np.linspace(-0.2, 0.2, 20), (1, 20, 1))
    field[0, 10, 10] = 1.0
    field[0, :3] = np.nan
    error = np.where(np.isfinite(field), 0.01, np.nan)
    smooth = smoothed_field(field, error)
    assert np.isnan(smooth[0, :3]).all()
    assert np.abs(smooth[0, 3:, 3:-3] - np.linspace(-0.2, 0.2, 20)[3:-3]).max() < 0.02


def test_voxels_of_large_error_hardly_count_in_a_smoothed_field() -> None:
    field = np.zeros((1, 20, 20))
    field[0, :, 10:] = 0.1
    error = np.where(field > 0, 1.0, 0.01)
    smooth = smoothed_field(field, error)
    assert smooth[0, :, :10].max() < 0.01
    assert smooth[0, 10, 10] < 0.02, "a neighbour that is known well decides"
    assert smooth[0, 10, 15] > 0.09


def test_more_parameters_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot determine"):
        fit(
            lambda p, _voxels: (p, p[..., None]),
            torch.ones(1, 2),
            torch.ones(1, 2),
            torch.zeros(2),
            torch.ones(2),
        )
