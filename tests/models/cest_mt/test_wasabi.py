"""WASABI against the simulator, which knows nothing of its equation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.cest_mt.pools import PoolModel
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.wasabi import fit_wasabi, wasabi_pulse, wasabi_signal
from models.cest_mt.zspectrum import normalised, spectrum_samples

SCHEDULE = load_schedule("wasabi_3t")
SAMPLES = spectrum_samples(SCHEDULE)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


def test_the_pulse_is_that_of_the_protocol() -> None:
    pulse = wasabi_pulse(SCHEDULE)
    assert (pulse.b1, pulse.duration) == (3.7, 0.005)
    with pytest.raises(ValueError, match="no WASABI protocol"):
        wasabi_pulse(load_schedule("mrf_mt_3t"))
    b1 = SCHEDULE.b1.copy()
    b1[3] = 2.0
    with pytest.raises(ValueError, match="no WASABI protocol"):
        wasabi_pulse(replace(SCHEDULE, b1=b1))


def test_the_derivative_is_that_of_autodiff() -> None:
    x = torch.as_tensor(SAMPLES.offsets)
    point = torch.tensor([[0.113, 0.93, 0.91, 1.8]], dtype=torch.float64)
    exact = torch.autograd.functional.jacobian(
        lambda p: wasabi_signal(wasabi_pulse(SCHEDULE), x, p)[0][0], point
    )[:, 0]
    assert torch.allclose(wasabi_signal(wasabi_pulse(SCHEDULE), x, point)[1][0], exact, atol=1e-9)


def test_fields_of_a_simulated_series_are_recovered_with_their_signs() -> None:
    generator = np.random.default_rng(1)
    shift = generator.uniform(-0.5, 0.5, 300)
    scale = generator.uniform(0.6, 1.4, 300)
    signal = simulate(
        SCHEDULE,
        PoolModel(water_t1=1.2, water_t2=0.08),
        b0_shift_ppm=torch.as_tensor(shift),
        b1_scale=torch.as_tensor(scale),
    ).numpy()
    # A scanner stores magnitudes, also of inverted magnetisation.
    z = normalised(500 * np.abs(signal), SAMPLES, SCHEDULE.m0_images)
    z += generator.normal(0, 0.01, z.shape)
    found = fit_wasabi(wasabi_pulse(SCHEDULE), SAMPLES.offsets, z)
    assert np.sqrt(np.mean((found.b0_shift - shift) ** 2)) < 0.01
    assert np.sqrt(np.mean((found.b1_scale - scale) ** 2)) < 0.01


def test_errors_are_calibrated() -> None:
    generator = np.random.default_rng(2)
    truth = generator.uniform([-0.4, 0.7, 0.8, 1.6], [0.4, 1.3, 1.0, 2.0], (1500, 4))
    pulse = wasabi_pulse(SCHEDULE)
    z = wasabi_signal(pulse, torch.as_tensor(SAMPLES.offsets), torch.as_tensor(truth))[0].numpy()
    z += generator.normal(0, 0.01, z.shape)
    found = fit_wasabi(pulse, SAMPLES.offsets, z)
    for value, error, true in (
        (found.b0_shift, found.b0_shift_sd, truth[:, 0]),
        (found.b1_scale, found.b1_scale_sd, truth[:, 1]),
    ):
        assert 0.60 < np.mean(np.abs(value - true) < error) < 0.76
