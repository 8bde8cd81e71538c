"""The steps on the data: what they recover, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.diffusion.linear_adaptation import LinearAdaptation
from models.diffusion.signal_design import log_design
from models.diffusion.tensor_fit import TensorLeastSquares

VOXEL = (2.0, 2.0, 2.0)
SHAPE = (1, 60, 60)
FREE_WATER = 3.0  # µm²/ms


def _table(directions: int = 10) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(0).standard_normal((directions, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    return np.r_[0.0, np.full(directions, 1000.0)], np.vstack((np.zeros((1, 3)), g))


def _signals(diffusivity: float, noise: float) -> np.ndarray:
    """Isotropic diffusion in µm²/ms and Gaussian noise relative to S0 = 1."""
    b, _ = _table()
    clean = np.broadcast_to(np.exp(-b * 1e-3 * diffusivity), (*SHAPE, len(b)))
    noisy = clean + noise * np.random.default_rng(1).standard_normal(clean.shape)
    return noisy.astype(np.float32)


def _water(diffusivity: float, noise: float, scale: float = 1.0) -> LinearAdaptation:
    signals = np.float32(scale) * _signals(diffusivity, noise)
    return LinearAdaptation(signals, np.ones(SHAPE, dtype=bool), *_table(), VOXEL)


def _belief(
    problem: LinearAdaptation, diffusivity: float, sd: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and precision of a belief in water that diffuses so fast."""
    mean = torch.zeros_like(problem.plain)
    mean[:, 1:4] = diffusivity
    return mean, torch.full_like(mean, 1 / sd**2)


def _diffusivity(channels: torch.Tensor) -> float:
    return float(channels[:, 1:4].mean())


def test_free_water_is_not_taken_for_slower_diffusion() -> None:
    """Its signal is two SD of the noise: the logarithm is skewed, the signal is not."""
    problem = _water(FREE_WATER, 0.025)
    mean, precision = _belief(problem, FREE_WATER, 0.2)
    of_logarithms, _ = problem.data_step(mean, precision)
    of_signals = problem.signal_step(of_logarithms, mean, precision)
    of_signals = problem.signal_step(of_signals, mean, precision)
    assert _diffusivity(of_logarithms) < FREE_WATER - 0.03
    assert _diffusivity(of_signals) > FREE_WATER - 0.01
    before, after = (
        (maps[:, 1:4].mean(dim=1) - FREE_WATER).abs().mean() for maps in (of_logarithms, of_signals)
    )
    assert after < 0.8 * before


def test_a_belief_that_explains_the_signals_is_kept() -> None:
    problem = _water(0.8, 1e-6)
    mean, precision = _belief(problem, 0.8)
    torch.testing.assert_close(
        problem.signal_step(mean, mean, precision), mean, atol=1e-4, rtol=1e-4
    )


def test_without_a_belief_it_leads_to_the_fit_of_the_signals() -> None:
    problem = _water(1.0, 0.02)
    _, precision = _belief(problem, 1.0)
    maps = problem.plain
    for _ in range(6):
        maps = problem.signal_step(maps, maps, 1e-9 * precision)
    best = problem.residual(maps)
    assert (best <= problem.residual(problem.plain) + 1e-9).all()
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        other = maps + 0.01 * torch.randn(maps.shape, generator=generator, dtype=maps.dtype)
        assert (best <= problem.residual(other) + 1e-9).all()


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_a_step_never_explains_signals_and_belief_worse(noise: float) -> None:
    problem = _water(1.5, noise)
    b, g = _table()
    design = torch.as_tensor(log_design(b, g))
    measured = _signals(1.5, noise).reshape(-1, len(b)) / problem.reference
    measured = torch.as_tensor(measured, dtype=torch.float64)
    used = torch.ones_like(measured)
    volumes, voxels = TensorLeastSquares(b, g).ordinary(measured.T.contiguous()).left_out
    used[voxels, volumes] = 0
    mean, precision = _belief(problem, 1.0)

    def misfit(maps: torch.Tensor) -> torch.Tensor:
        difference = (measured - torch.exp(maps @ design.T)) * used
        data = difference.square().sum(dim=1) / problem.noise**2
        return data + (precision * (maps - mean).square()).sum(dim=1)

    before, _ = problem.data_step(mean, precision)
    for _ in range(2):
        after = problem.signal_step(before, mean, precision)
        assert (misfit(after) <= 1.001 * misfit(before)).all()
        before = after


@pytest.mark.parametrize("scale", [0.01, 300.0])
def test_the_unit_of_the_signals_does_not_matter(scale: float) -> None:
    found = []
    for problem in (_water(1.0, 0.02), _water(1.0, 0.02, scale)):
        mean, precision = _belief(problem, 0.9)
        maps, covariance = problem.data_step(mean, precision)
        found.append((problem.signal_step(maps, mean, precision), covariance))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-3)


def test_signals_that_are_not_positive_are_left_out_of_both_steps() -> None:
    b, g = _table()
    grid = np.broadcast_to(np.exp(-b * 1e-3), (*SHAPE, len(b))).astype(np.float32)
    holed = grid.copy()
    holed[..., 3] = 0
    brain = np.ones(SHAPE, dtype=bool)
    whole, with_hole = (LinearAdaptation(x, brain, b, g, VOXEL) for x in (grid, holed))
    mean, precision = _belief(whole, 1.0)
    for one in (whole, with_hole):
        maps, _ = one.data_step(mean, precision)
        maps = one.signal_step(maps, mean, precision)
        assert abs(_diffusivity(maps) - 1.0) < 1e-3
