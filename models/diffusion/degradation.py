"""What turns clean maps into training examples: symmetries, lesions, and the noise of a fit.

Batches are (batch, channels, slices, rows, columns) of the DTI stack, float32, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.channels import DTI
from models.diffusion.normal_equations import factorise, inverse, lower_triangle, products, solve
from models.diffusion.random_draws import RandomDraws
from models.diffusion.signal_design import log_design
from models.diffusion.symmetry import random_symmetry

#: A voxel without usable signal is held by this multiple of the spread over brains.
POPULATION_WIDTH = 3.0
#: Weighted signals above this multiple of the reference are a fit gone astray, not a signal.
LARGEST_LOG_SIGNAL = 5.0
_SMALLEST_SIGNAL = 1e-5
_NUMBERS = (6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 18, 20, 21, 24, 28, 30, 32, 36, 40)
_TABLES = 24


@dataclass(frozen=True)
class Noisy:
    """Maps with the noise of a fit, and what is known of that noise.

    Attributes:
        maps: noisy maps, as the clean ones.
        sd: standard deviation of the noise, same shape.
        correlation: (batch, slices, rows, columns) correlation of the noise of ln S0 and of the
            isotropic part of the tensor.
    """

    maps: Tensor
    sd: Tensor
    correlation: Tensor


def turn(maps: Tensor, brain: Tensor, draws: RandomDraws) -> tuple[Tensor, Tensor]:
    """Mirror and transpose a batch at random, tensors with it."""
    symmetry = random_symmetry(draws)
    return symmetry.apply(maps), symmetry.apply_scalar(brain)


def turn_noisy(
    clean: Tensor, noisy: Noisy, brain: Tensor, draws: RandomDraws
) -> tuple[Tensor, Noisy, Tensor]:
    """Mirror and transpose clean and noisy maps and what is known of their noise alike."""
    symmetry = random_symmetry(draws)
    turned = Noisy(
        symmetry.apply(noisy.maps),
        symmetry.apply(noisy.sd, signed=False),
        symmetry.apply_scalar(noisy.correlation),
    )
    return symmetry.apply(clean), turned, symmetry.apply_scalar(brain)


def vary(maps: Tensor, brain: Tensor, draws: RandomDraws) -> Tensor:
    """Scale diffusivities and S0, shade S0, and insert lesions and losses of signal.

    Contrast and shading of S0 depend on echo time and coils, so they are varied so far that the
    prior cannot take brightness for diffusivity. Lesions are ellipsoids in which diffusion is
    slower or faster by up to a factor of 2.7, with and without a change of anisotropy and of
    brightness. Losses of signal (susceptibility, the rim of the head) leave noise alone.
    """
    batch = len(maps)
    grid = grid_of(maps)

    def each(values: Tensor) -> Tensor:
        return values[:, None, None, None]

    maps = maps.clone()
    maps[:, 1:] *= each(torch.exp(0.1 * draws.normal(batch)))[:, None]
    shading = shade(grid, 0.35, draws, batch)
    maps[:, 0] = maps[:, 0] * each(draws.uniform(0.3, 1.3, batch)) + shading
    maps[:, 0] += each(0.2 * draws.normal(batch))
    for share in (0.5, 0.25, 0.1):
        mask = ellipsoids(grid, draws, batch) * each(draws.chance(share, batch))
        factor = draws.log_uniform(0.37, 2.7, batch)
        isotropy = draws.uniform(0, 1, batch) * draws.chance(0.5, batch)
        brightness = 0.3 * draws.normal(batch) * draws.chance(0.5, batch)
        scale = 1 + mask * (each(factor) - 1)
        even = mask * each(isotropy)
        mean = maps[:, 1:4].mean(dim=1) * scale * even
        maps[:, 1:] *= ((1 - even) * scale)[:, None]
        maps[:, 1:4] += mean[:, None]
        maps[:, 0] += mask * each(brightness)
    dark = ellipsoids(grid, draws, batch) * each(draws.chance(0.2, batch))
    maps[:, 0] -= dark * each(draws.uniform(0.5, 4, batch))
    return maps * brain[:, None]


def grid_of(maps: Tensor) -> tuple[Tensor, ...]:
    """Indices along slices, rows and columns, each (slices, rows, columns)."""
    axes = [torch.arange(n, dtype=torch.float32, device=maps.device) for n in maps.shape[-3:]]
    return torch.meshgrid(*axes, indexing="ij")


def ellipsoids(grid: tuple[Tensor, ...], draws: RandomDraws, batch: int) -> Tensor:
    """One ellipsoid for each of a batch, 1 inside and 0 outside, with a soft border."""
    radius = draws.log_uniform(1.5, 11, batch)
    square = torch.zeros((batch, *grid[0].shape), device=draws.device)
    for axis in grid:
        centre = draws.uniform(0, 1, batch) * axis.max()
        half = radius * draws.uniform(0.7, 1.4, batch)
        square += ((axis - centre[:, None, None, None]) / half[:, None, None, None]) ** 2
    softness = draws.log_uniform(0.02, 0.4, batch)[:, None, None, None]
    return torch.sigmoid((1 - square.sqrt()) / softness)


def shade(grid: tuple[Tensor, ...], scale: float, draws: RandomDraws, batch: int) -> Tensor:
    """Random second-degree polynomials over rows and columns; SD of a term is ``scale``."""
    rows, columns = (2 * axis / max(1.0, float(axis.max())) - 1 for axis in grid[1:])
    terms = torch.stack((rows, columns, rows**2 - 0.3, columns**2 - 0.3, rows * columns))
    return torch.einsum("bt,tzyx->bzyx", scale * draws.normal(batch, len(terms)), terms)


class Tables:
    """Random single-shell tables, the best conditioned of many.

    Args:
        draws: source of random numbers.
    """

    def __init__(self, draws: RandomDraws) -> None:
        generator = np.random.default_rng(int(draws.integers(0, 2**31, 1)))
        self._directions: dict[int, Tensor] = {}
        for number in _NUMBERS:
            tries = 60 if number < 12 else 8
            g = generator.standard_normal((_TABLES, tries, number, 3))
            g /= np.linalg.norm(g, axis=-1, keepdims=True)
            flat = g.reshape(-1, 3)
            design = log_design(np.full(len(flat), 1e3), flat)[:, 1:]
            conditions = np.linalg.cond(design.reshape(_TABLES, tries, number, 6))
            best = g[np.arange(_TABLES), conditions.argmin(axis=1)]
            self._directions[number] = torch.as_tensor(best, dtype=torch.float32).to(draws.device)
        logarithms = np.log([*_NUMBERS, _NUMBERS[-1] + 4.0])
        self._shares = np.diff(logarithms) / np.diff(logarithms).sum()
        self._generator = generator

    def designs(self, draws: RandomDraws, batch: int) -> Tensor:
        """Designs of a batch of turned tables with one number of volumes.

        Returns:
            (batch, volumes, 7) with ln(S / reference) = design · channels.
        """
        number = int(self._generator.choice(_NUMBERS, p=self._shares))
        without = int(np.exp(self._generator.uniform(0, np.log(9))))
        g = self._directions[number][draws.integers(0, _TABLES, batch)]
        g = g @ draws.rotations(batch)
        high = draws.uniform(1.5, 2.6, batch)
        b = torch.where(draws.chance(0.15, batch), high, draws.log_uniform(0.6, 1.5, batch))
        x, y, z = g.unbind(dim=-1)
        root = 2**0.5
        squares = (x * x, y * y, z * z, root * x * y, root * x * z, root * y * z)
        weighted = -b[:, None, None] * torch.stack(squares, dim=-1)
        design = torch.ones((batch, without + number, 7), device=draws.device)
        design[:, :without, 1:] = 0
        design[:, without:, 1:] = weighted
        return design


def fit_noise(maps: Tensor, tables: Tables, draws: RandomDraws) -> Noisy:
    """Simulate a sparse series with Rician noise and fit it, as the adaptation's data step does.

    Errors thus have the covariance that the table, the direction of fast diffusion and the
    brightness give them, and the bias of the noise floor. The level of the noise that the fit
    assumes is off, as an estimate is; parallel imaging lets it vary over the head.

    Args:
        maps: clean maps of the DTI stack.
        tables: of gradients.
        draws: source of random numbers.
    """
    batch, channels = maps.shape[:2]
    design = tables.designs(draws, batch)
    volumes = design.shape[1]
    level = draws.log_uniform(0.01, 0.12, batch)[:, None, None, None]
    sigma = level * torch.exp(shade(grid_of(maps), 0.25, draws, batch))
    clean = torch.exp((design @ maps.flatten(2)).clamp(max=LARGEST_LOG_SIGNAL))
    noise = [
        sigma[:, None] * correlated_noise(draws, batch, volumes, maps.shape[2:]) for _ in range(2)
    ]
    signal = torch.hypot(clean + noise[0].flatten(2), noise[1].flatten(2))
    measured = signal.clamp(min=_SMALLEST_SIGNAL).log()
    assumed = sigma * torch.exp(0.2 * draws.normal(batch) - 0.05)[:, None, None, None]
    found, covariance = _data_step(measured, design, assumed.flatten(1))
    diagonal = covariance.diagonal(dim1=0, dim2=1).T
    isotropic = covariance[1:4, 1:4].sum(dim=(0, 1))
    correlation = covariance[0, 1:4].sum(dim=0) / torch.sqrt(isotropic * covariance[0, 0])

    def back(values: Tensor) -> Tensor:
        return values.view(channels, batch, *maps.shape[2:]).transpose(0, 1)

    return Noisy(back(found), back(diagonal.sqrt()), correlation.view(batch, *maps.shape[2:]))


def _data_step(measured: Tensor, design: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares with the weak belief in the mean over brains.

    Args:
        measured: (batch, volumes, voxels) ln signal.
        design: (batch, volumes, size).
        sigma: (batch, voxels) SD of the noise relative to the reference.

    Returns:
        (size, batch * voxels) and covariance (size, size, batch * voxels).
    """
    size = design.shape[2]
    double = design.double()
    inverse_design = torch.linalg.solve(double.mT @ double, double.mT).to(design.dtype)
    ordinary = inverse_design @ measured
    predicted = design @ ordinary
    weight = torch.exp(2 * predicted.clamp(max=LARGEST_LOG_SIGNAL)) / sigma[:, None] ** 2
    normal = (products(design) @ weight).transpose(0, 1).flatten(1)
    # The correction of the ordinary fit is solved for: float32 suffices then.
    right = (design.mT @ (weight * (measured - predicted))).transpose(0, 1).flatten(1)
    start = ordinary.transpose(0, 1).flatten(1)
    population = torch.as_tensor(DTI.mean, dtype=torch.float32, device=measured.device)[:, None]
    spread = torch.as_tensor(DTI.spread, dtype=torch.float32, device=measured.device)[:, None]
    weak = 1 / (POPULATION_WIDTH * spread) ** 2
    for i, (row, column) in enumerate(lower_triangle(size)):
        if row == column:
            normal[i] += weak[row]
    factor = factorise(normal, size)
    found = start + solve(factor, right + weak * (population - start))
    covariance = inverse(factor)
    # Where an ordinary fit went astray, single precision may fail: nothing is known there.
    usable = found.isfinite().all(dim=0) & covariance.isfinite().flatten(0, 1).all(dim=0)
    nothing = torch.diag_embed(1 / weak[:, 0])[..., None]
    return torch.where(usable, found, population), torch.where(usable, covariance, nothing)


def correlated_noise(draws: RandomDraws, batch: int, volumes: int, shape: torch.Size) -> Tensor:
    """Unit noise, in a part of the examples correlated between neighbours in the plane.

    Interpolation (motion and eddy-current correction, the scanner's own zero filling) leaves
    correlations of up to 0.5 between neighbours; a denoiser that knows only independent noise
    takes these for structure.

    Returns:
        (batch, volumes, *shape).
    """
    noise = draws.normal(batch, volumes, *shape)
    some = draws.chance(0.6, batch)
    for dimension in (-1, -2):
        side = (draws.uniform(0, 0.3, batch) * some)[:, None, None, None, None]
        both = noise.roll(1, dimension) + noise.roll(-1, dimension)
        noise = (noise + side * both) / torch.sqrt(1 + 2 * side**2)
    return noise
