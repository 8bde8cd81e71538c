"""The least-squares fit: exact without noise, honest with noise, within its ranges."""

import pytest
import torch

from models.cest_mt.specification import MT_3T
from models.cest_mt.training_set import simulate_values
from models.cest_mt.voxelwise_fit import fit_voxels

# mt_fraction %, mt_exchange_rate /s, t1 ms, t2 ms, b0_shift ppm, b1_scale
WHITE_MATTER = [13.0, 25.0, 950.0, 70.0, 0.05, 1.1]
GREY_MATTER = [6.0, 40.0, 1400.0, 95.0, -0.1, 0.9]


def test_noise_free_signals_give_the_parameters_back_at_any_scale():
    values = torch.tensor([WHITE_MATTER, GREY_MATTER])
    signal = 800 * simulate_values(MT_3T, values)
    fit = fit_voxels(MT_3T, signal, values[:, 2:], iterations=12)
    torch.testing.assert_close(fit.values.float(), values[:, :2], rtol=2e-3, atol=0)
    assert fit.residual.max() < 0.01
    assert not fit.at_bound.any()


def test_covariance_is_that_of_repeated_measurements():
    values = torch.tensor([WHITE_MATTER]).expand(150, -1)
    noise = torch.randn(150, 31, generator=torch.Generator().manual_seed(2))
    signal = simulate_values(MT_3T, values) + 0.005 * noise
    fit = fit_voxels(MT_3T, signal, values[:, 2:], start=values[:, :2], iterations=5)
    scatter = torch.cov(fit.values.T)
    stated = fit.covariance.mean(dim=0)
    # 150 repeats know a standard deviation to 6 %.
    torch.testing.assert_close(
        scatter.diagonal().sqrt(), stated.diagonal().sqrt(), rtol=0.2, atol=0
    )
    correlation = float(stated[0, 1] / (stated[0, 0] * stated[1, 1]).sqrt())
    assert correlation < -0.8
    assert float(torch.corrcoef(fit.values.T)[0, 1]) == pytest.approx(correlation, abs=0.1)


def test_values_stay_within_their_ranges_and_say_when_they_are_at_the_end():
    values = torch.tensor([[29.9, 60.0, 1000.0, 60.0, 0.0, 1.0]]).expand(8, -1)
    noise = torch.randn(8, 31, generator=torch.Generator().manual_seed(0))
    signal = simulate_values(MT_3T, values) + 0.02 * noise
    fit = fit_voxels(MT_3T, signal, values[:, 2:], start=values[:, :2], iterations=6)
    assert (fit.values[:, 0] <= 30.0).all()
    at_end = fit.values[:, 0] == 30.0
    assert torch.equal(fit.at_bound[:, 0], at_end)
    assert at_end.any()
