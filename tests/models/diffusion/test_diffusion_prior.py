from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from models.diffusion.adapt import AdaptationSettings, adapt
from models.diffusion.channels import DTI, mandel_to_tensor, tensor_to_mandel
from models.diffusion.linear_adaptation import LinearAdaptation
from models.diffusion.multi_shell import adapt_shells
from models.diffusion.noise import (
    at_noise_floor,
    high_pass_noise,
    noise_factor,
    residual_noise,
    rician_log_likelihood,
)
from models.diffusion.posterior import tensor_maps
from models.diffusion.prior import INPUTS, NETWORKS, OUTPUTS, RunNetwork, onnx_network
from models.diffusion.scalars import fractional_anisotropy
from models.diffusion.signal_design import log_design
from models.diffusion.symmetry import exchange_order, mirror_signs, symmetry_of_slices
from models.diffusion.tensor_fit import TensorLeastSquares

BUNDLE = NETWORKS / "prior_dti"
VOXEL = (2.0, 2.0, 2.0)
SHAPE = (3, 40, 48)


@pytest.fixture(scope="module")
def network() -> RunNetwork:
    return onnx_network(BUNDLE / "model.onnx", threads=1)


def _table(directions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed).standard_normal((directions, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    return np.r_[0.0, np.full(directions, 1000.0)], np.vstack((np.zeros((1, 3)), g))


def _phantom(noise: float, table: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two tissues side by side in a round head, S0 = 500; signals and brain."""
    _, row, column = np.indices(SHAPE)
    brain = np.hypot(row - 20, column - 24) < 17
    first = column < 24
    b, g = table
    one = np.exp(-b * (0.4e-3 + 1.2e-3 * g[:, 0] ** 2))
    other = np.exp(-b * (0.4e-3 + 1.2e-3 * g[:, 1] ** 2))
    clean = 500 * np.where(first[..., None], one, other) * brain[..., None]
    generator = np.random.default_rng(1)
    error = noise * generator.standard_normal((2, *clean.shape))
    return np.hypot(clean + error[0], error[1]).astype(np.float32), brain


def _problem(noise: float = 20.0, directions: int = 10) -> LinearAdaptation:
    table = _table(directions)
    signals, brain = _phantom(noise, table)
    return LinearAdaptation(signals, brain, *table, VOXEL)


def test_bundle_is_whole_and_reproduces_its_golden_values(network: RunNetwork) -> None:
    metadata = json.loads((BUNDLE / "metadata.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((BUNDLE / "model.onnx").read_bytes()).hexdigest()
    assert metadata["model"]["sha256"] == digest
    with np.load(BUNDLE / "golden.npz") as golden:
        answers = network(*(golden[f"input_{name}"] for name in INPUTS))
        for name, answer in zip(OUTPUTS, answers, strict=True):
            np.testing.assert_allclose(answer, golden[f"output_{name}"], atol=1e-4)


def test_prior_weight_zero_is_the_plain_weighted_fit(network: RunNetwork) -> None:
    table = _table(10)
    signals, brain = _phantom(20.0, table)
    found = adapt(_problem(), network, AdaptationSettings(prior_weight=0.0))
    plain = TensorLeastSquares(*table).fit(torch.from_numpy(signals[brain]))
    tensor = mandel_to_tensor(found.channels[:, 1:].numpy())
    np.testing.assert_allclose(tensor, plain.tensor.numpy() * 1e3, atol=1e-4)
    maps = tensor_maps(found)
    np.testing.assert_allclose(maps.s0.numpy(), plain.s0.numpy(), rtol=1e-4)


def test_the_same_seed_gives_the_same_maps_and_another_seed_others(network: RunNetwork) -> None:
    one, again = adapt(_problem(), network), adapt(_problem(), network)
    assert torch.equal(one.channels, again.channels)
    assert torch.equal(one.covariance, again.covariance)
    other = adapt(_problem(), network, AdaptationSettings(first_seed=7))
    assert not torch.equal(one.channels, other.channels)
    assert (one.channels - other.channels).abs().max() < 0.3


def test_the_prior_helps_where_data_are_few_and_steps_back_where_they_are_many(
    network: RunNetwork,
) -> None:
    truth = _problem(0.0, 30).plain

    def gain(directions: int) -> tuple[float, float]:
        problem = _problem(25.0, directions)
        adapted = adapt(problem, network)
        before = (problem.plain - truth)[:, 1:].square().mean().sqrt()
        after = (adapted.channels - truth)[:, 1:].square().mean().sqrt()
        return float(after / before), float(adapted.data_share.mean())

    few, share_of_few = gain(6)
    many, share_of_many = gain(60)
    assert few < 0.75
    assert many < 1.0
    assert share_of_few < share_of_many


def test_voxels_at_the_noise_floor_are_named(network: RunNetwork) -> None:
    table = _table(10)
    signals, brain = _phantom(5.0, table)
    hole = np.zeros_like(brain)
    hole[:, 15:20, 20:25] = True
    signals[hole] = np.random.default_rng(0).rayleigh(5.0, (int(hole.sum()), 11))
    problem = LinearAdaptation(signals, brain, *table, VOXEL)
    found = adapt(problem, network)
    assert found.unsupported.numpy()[hole[brain]].mean() > 0.9
    assert found.unsupported.numpy()[~hole[brain]].mean() < 0.01


def test_the_prior_does_not_fill_in_where_nothing_was_measured(network: RunNetwork) -> None:
    table = _table(10)
    signals, brain = _phantom(5.0, table)
    signals[:, 15:20, 20:25] = 0
    problem = LinearAdaptation(signals, brain, *table, VOXEL)
    found = adapt(problem, network)
    assert found.unsupported.any()
    data, _ = problem.data_step()
    assert torch.equal(found.channels[found.unsupported], data[found.unsupported])


def test_the_weight_of_the_prior_leads_from_data_to_prior(network: RunNetwork) -> None:
    problem = _problem(25.0, 6)
    found = [
        adapt(problem, network, AdaptationSettings(prior_weight=weight))
        for weight in (0.0, 0.1, 1.0, 10.0)
    ]
    shares = [float(one.data_share.mean()) for one in found]
    assert shares[0] == 1
    assert sorted(shares, reverse=True) == shares
    sizes = [float(one.covariance.diagonal(dim1=1, dim2=2).mean()) for one in found]
    assert sorted(sizes, reverse=True) == sizes
    distance = [float((one.channels - one.plain).abs().mean()) for one in found]
    assert sorted(distance) == distance


def test_mirrored_and_transposed_channels_belong_to_the_mirrored_head() -> None:
    generator = np.random.default_rng(0)
    channels = generator.standard_normal(len(DTI))
    b, g = _table(40)

    def signal(x: np.ndarray, directions: np.ndarray) -> np.ndarray:
        return log_design(b, directions) @ x

    for axis in range(3):
        sign = np.ones(3)
        sign[axis] = -1
        mirrored = channels * mirror_signs(axis).numpy()
        np.testing.assert_allclose(signal(mirrored, g * sign), signal(channels, g))
    exchanged = channels[exchange_order()]
    np.testing.assert_allclose(signal(exchanged, g[:, [1, 0, 2]]), signal(channels, g))


@pytest.mark.parametrize("number", range(8))
def test_a_symmetry_is_undone(number: int) -> None:
    symmetry = symmetry_of_slices(number)
    maps = torch.randn(7, 2, 4, 4, generator=torch.Generator().manual_seed(number))
    torch.testing.assert_close(symmetry.undo(symmetry.apply(maps)), maps)
    scalar = symmetry.apply_scalar(maps[0])
    # ln S0 has no direction: it goes where a scalar goes.
    torch.testing.assert_close(symmetry.apply(maps)[0], scalar)


def test_the_prior_does_not_spoil_the_noise_of_few_volumes(network: RunNetwork) -> None:
    table = _table(6)
    signals, brain = _phantom(20.0, table)
    found = adapt(LinearAdaptation(signals, brain, *table, VOXEL), network)
    assert float(found.noise.median()) == pytest.approx(20.0, rel=0.2)


def test_noise_is_corrected_to_the_deviations_that_are_expected() -> None:
    brain = np.ones((3, 20, 20), dtype=bool)
    expected = np.full((brain.sum(), 6), 0.5)
    generator = np.random.default_rng(0)
    square = 2 * expected * generator.standard_normal(expected.shape) ** 2
    usable = np.ones(brain.sum(), dtype=bool)
    factor = noise_factor(square, expected, usable, brain, VOXEL)
    assert np.median(factor) == pytest.approx(2**0.5, rel=0.1)
    # Nobody believes in a factor of ten.
    assert noise_factor(100 * square, expected, usable, brain, VOXEL).max() == 2


def test_mandel_notation_keeps_the_norm_under_rotation() -> None:
    elements = np.array([1.0, 2.0, 3.0, 0.5, -0.2, 0.1])
    xx, yy, zz, xy, xz, yz = elements
    matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    assert np.linalg.norm(tensor_to_mandel(elements)) == pytest.approx(np.linalg.norm(matrix))
    np.testing.assert_allclose(mandel_to_tensor(tensor_to_mandel(elements)), elements)


def test_errors_of_scalars_are_as_large_as_their_sd_says() -> None:
    """Without a prior the covariance is that of the data: repeat the noise and see."""
    problem = _problem(15.0, 30)
    truth = _problem(0.0, 30).plain
    _, covariance = problem.data_step()
    found = adapt(
        problem, onnx_network(BUNDLE / "model.onnx", 1), AdaptationSettings(prior_weight=0)
    )
    maps = tensor_maps(found)
    md_error = (found.channels - truth)[:, 1:4].mean(dim=1)
    ratio = md_error / (maps.mean_diffusivity_sd * 1e3)
    assert 0.8 < float(ratio.std()) < 1.2
    assert covariance.shape == (len(truth), 7, 7)


def test_noise_level_is_found_where_there_is_one_volume_of_each_direction() -> None:
    table = _table(6)
    signals, brain = _phantom(20.0, table)
    level = high_pass_noise(signals, brain, table[0], VOXEL)
    assert level.shape == (brain.sum(),)
    assert np.median(level) == pytest.approx(20.0, rel=0.15)
    noise_free, _ = _phantom(0.0, table)
    assert (high_pass_noise(noise_free, brain, table[0], VOXEL) > 0).all()


def test_rician_density() -> None:
    grid = torch.linspace(1e-3, 400, 40_000, dtype=torch.float64)
    sigma = torch.tensor(10.0, dtype=torch.float64)
    for signal in (0.0, 12.0, 250.0):
        predicted = torch.tensor(signal, dtype=torch.float64)
        density = rician_log_likelihood(grid, predicted, sigma).exp()
        assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-4)
    high = rician_log_likelihood(grid[25_000:25_100], torch.tensor(250.0).double(), sigma)
    gaussian = torch.distributions.Normal(250.0, 10.0).log_prob(grid[25_000:25_100])
    np.testing.assert_allclose(high.numpy(), gaussian.numpy(), atol=5e-3)
    assert at_noise_floor(np.array([[5.0, 50.0]]), 10.0).tolist() == [[True, False]]


def test_two_shells_give_kurtosis_and_noddi_and_one_shell_is_refused(network: RunNetwork) -> None:
    b, g = _table(10)
    b = np.r_[b, np.full(10, 2000.0)]
    g = np.vstack((g, _table(10, seed=5)[1][1:]))
    signals, brain = _phantom(3.0, (b, g))
    shells = adapt_shells(signals, brain, b, g, VOXEL, network)
    kurtosis, noddi = shells.kurtosis(), shells.noddi()
    # The phantom is Gaussian: no kurtosis to find, and none is invented.
    assert kurtosis.mean_kurtosis.median() < 0.15
    assert float(fractional_anisotropy(kurtosis.eigenvalues).median()) == pytest.approx(
        0.69, abs=0.06
    )
    assert float(noddi.fwf.median()) < 0.1
    spread = torch.stack([shells.noddi(shells.sample(seed)).ndi for seed in range(3)]).std(dim=0)
    assert 0 < spread.median() < 0.2
    with pytest.raises(ValueError, match="two shells"):
        adapt_shells(signals[..., :11], brain, b[:11], g[:11], VOXEL, network)


def test_residuals_tell_the_noise_whatever_its_correlation_over_space() -> None:
    table = _table(15)
    signals, brain = _phantom(0.0, table)
    noise = np.random.default_rng(2).standard_normal(signals.shape)
    noise = noise + np.roll(noise, 1, axis=1)
    noisy = np.abs(signals + 10 / np.sqrt(2) * noise)
    fit = TensorLeastSquares(*table).fit(torch.from_numpy(noisy[brain]))
    level = residual_noise(fit.residuals, 7, brain, VOXEL)
    assert float(np.median(level)) == pytest.approx(10, rel=0.05)
    neighbours = high_pass_noise(noisy, brain, table[0], VOXEL)
    assert float(np.median(neighbours)) < 9
    with pytest.raises(ValueError, match="7 volumes"):
        residual_noise(fit.residuals[:, :7], 7, brain, VOXEL)
