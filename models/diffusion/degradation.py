"""What turns clean maps into training examples: symmetries, lesions, and the noise of a fit.

Batches are (batch, channels, slices, rows, columns) of the DTI or DKI stack, float32.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.channels import Stack
from models.diffusion.signal import KURTOSIS_ELEMENTS, TENSOR_ELEMENTS
from models.diffusion.signal_design import log_design

#: Relative noise of one volume above which a logarithm means nothing.
_NOISE_FLOOR = 0.7


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


def mirror_signs(stack: Stack, axis: int) -> Tensor:
    """Signs (channels,) of the channels when the frame's ``axis`` is reversed."""
    return torch.tensor([(-1.0) ** element.count(axis) for element in _elements(stack)])


def exchange_order(stack: Stack) -> list[int]:
    """Channels in the order in which they are when the axes x and y are exchanged."""
    swap = {0: 1, 1: 0, 2: 2}
    elements = _elements(stack)
    return [elements.index(tuple(sorted(swap[i] for i in element))) for element in elements]


def _elements(stack: Stack) -> list[tuple[int, ...]]:
    tensors: tuple[tuple[int, ...], ...] = TENSOR_ELEMENTS
    return [(), *tensors, *(KURTOSIS_ELEMENTS if len(stack) > 7 else ())]


def turn(
    maps: Tensor, brain: Tensor, stack: Stack, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror and transpose a batch at random, tensors with it."""
    for axis, dimension in ((0, -1), (1, -2), (2, -3)):
        if generator.uniform() < 0.5:
            maps = maps.flip(dimension) * mirror_signs(stack, axis)[:, None, None, None]
            brain = brain.flip(dimension)
    if generator.uniform() < 0.5:
        maps = maps.transpose(-1, -2)[:, exchange_order(stack)]
        brain = brain.transpose(-1, -2)
    return maps, brain


def vary(maps: Tensor, brain: Tensor, generator: np.random.Generator) -> Tensor:
    """Scale diffusivities and S0, shade S0, and insert lesions: ellipsoids of altered diffusion.

    Contrast and shading of S0 depend on echo time and coils, so they are varied so far that the
    prior cannot take brightness for diffusivity.
    """
    batch, _, slices, rows, columns = maps.shape
    grid = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32) for n in (slices, rows, columns)), indexing="ij"
    )
    maps = maps.clone()
    for i in range(batch):
        scale = float(np.exp(generator.normal(0, 0.1)))
        _scale_diffusion(maps[i], torch.tensor(scale), torch.tensor(0.0))
        maps[i, 0] *= generator.uniform(0.3, 1.3)
        maps[i, 0] += generator.normal(0, 0.2) + smooth_shading(grid, 0.35, generator)
        for _ in range(generator.choice(3, p=[0.6, 0.3, 0.1])):
            radius = np.exp(generator.uniform(np.log(1.5), np.log(11)))
            inside = torch.zeros(slices, rows, columns)
            for axis, size in enumerate((slices, rows, columns)):
                centre = generator.uniform(0, size - 1)
                inside = (
                    inside + ((grid[axis] - centre) / (radius * generator.uniform(0.7, 1.4))) ** 2
                )
            softness = generator.uniform(0.03, 0.4)
            mask = torch.sigmoid((1 - inside.sqrt()) / softness)
            factor = float(np.exp(generator.uniform(np.log(0.45), np.log(2.2))))
            _scale_diffusion(maps[i], 1 + mask * (factor - 1), mask * generator.uniform(0, 1))
            maps[i, 0] += mask * generator.normal(0, 0.3)
    return maps * brain[:, None]


def smooth_shading(
    grid: tuple[Tensor, ...], scale: float, generator: np.random.Generator
) -> Tensor:
    """A random second-degree polynomial over rows and columns; SD of its terms is ``scale``."""
    rows, columns = (2 * axis / max(1, axis.amax().item()) - 1 for axis in grid[1:])
    terms = (rows, columns, rows**2 - 0.3, columns**2 - 0.3, rows * columns)
    return torch.stack([float(generator.normal(0, scale)) * term for term in terms]).sum(dim=0)


def _scale_diffusion(maps: Tensor, factor: Tensor, isotropy: Tensor) -> None:
    """Multiply diffusivities of (channels, ...) maps in place, and make them more isotropic."""
    mean = maps[1:4].mean(dim=0)
    maps[1:7] *= (1 - isotropy) * factor
    maps[1:4] += isotropy * factor * mean
    if maps.shape[0] > 7:
        maps[7:] *= factor**2


def crop(
    maps: Tensor, brain: Tensor, size: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A window of ``size`` rows and columns around a voxel of the brain of one slab."""
    inside = torch.nonzero(brain[brain.shape[0] // 2])
    row, column = inside[generator.integers(len(inside))].tolist()
    top = int(np.clip(row - generator.integers(size), 0, maps.shape[-2] - size))
    left = int(np.clip(column - generator.integers(size), 0, maps.shape[-1] - size))
    window = (..., slice(top, top + size), slice(left, left + size))
    return maps[window], brain[window]


def random_table(generator: np.random.Generator) -> tuple[float, np.ndarray, int]:
    """A random single-shell table: b in ms/µm², (N, 3) directions, number of b = 0 volumes."""
    number = int(np.exp(generator.uniform(np.log(6), np.log(40))))
    b0 = int(np.exp(generator.uniform(0, np.log(9))))
    b = float(np.exp(generator.uniform(np.log(0.6), np.log(1.5))))
    if generator.uniform() < 0.15:
        b = float(generator.uniform(1.5, 2.6))
    candidates = generator.standard_normal((60 if number < 12 else 8, number, 3))
    candidates /= np.linalg.norm(candidates, axis=2, keepdims=True)
    conditions = [
        np.linalg.cond(log_design(np.full(number, 1e3), g, kurtosis=False)[:, 1:])
        for g in candidates
    ]
    return b, candidates[int(np.argmin(conditions))], b0


def fit_noise(maps: Tensor, generator: np.random.Generator, source: torch.Generator) -> Noisy:
    """Add the noise that a least-squares fit of a random single-shell table leaves.

    In a single shell ln S0 hangs on the volumes without weighting alone; its error moves the
    isotropic part of the tensor by as much over b, and the errors of the weighted volumes come
    on top with the covariance of the table. Noise of the logarithm is the noise of the signal
    over the signal, so it grows where diffusion is fast.

    Args:
        maps: clean maps of the DTI stack.
        generator: draws the tables.
        source: draws the noise.
    """
    batch = maps.shape[0]
    noise = correlated_noise(maps.shape, generator, source)
    noisy, sd = maps.clone(), torch.empty_like(maps)
    correlation = torch.empty_like(maps[:, 0])
    unit = torch.tensor([1.0, 1, 1, 0, 0, 0])
    grid = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32) for n in maps.shape[2:]), indexing="ij"
    )
    for i in range(batch):
        b, directions, b0 = random_table(generator)
        sigma = float(np.exp(generator.uniform(np.log(0.01), np.log(0.13))))
        design = log_design(np.full(len(directions), 1e3), directions, kurtosis=False)[:, 1:]
        covariance = torch.as_tensor(np.linalg.inv(design.T @ design), dtype=torch.float32)
        factor = torch.linalg.cholesky(covariance)
        mean_diffusivity = maps[i, 1:4].mean(dim=0).clamp(0, 4)
        # Parallel imaging amplifies noise in the middle of the head.
        shading = smooth_shading(grid, 0.25, generator)
        relative = sigma * torch.exp(shading - maps[i, 0])
        error0 = (relative / b0**0.5).clamp(max=_NOISE_FLOOR)
        error = (relative * torch.exp(b * mean_diffusivity)).clamp(max=_NOISE_FLOOR)
        from_b0 = error0 * noise[i, 0]
        noisy[i, 0] += from_b0
        weighted = torch.einsum("cd,d...->c...", factor, noise[i, 1:]) * error
        noisy[i, 1:] += (from_b0 * unit[:, None, None, None] + weighted) / b
        sd[i, 0] = error0
        variance = covariance.diagonal()[:, None, None, None] * error**2
        sd[i, 1:] = torch.sqrt(unit[:, None, None, None] * error0**2 + variance) / b
        isotropic = float(unit @ covariance @ unit) / 9
        correlation[i] = error0 / torch.sqrt(error0**2 + isotropic * error**2)
        # In use the level of the noise is an estimate too.
        sd[i] *= float(np.exp(generator.normal(0, 0.15)))
    return Noisy(noisy, sd, correlation)


def correlated_noise(
    shape: torch.Size, generator: np.random.Generator, source: torch.Generator
) -> Tensor:
    """Unit noise, in a part of the examples correlated between neighbours in the plane.

    Interpolation (motion and eddy-current correction, the scanner's own zero filling) leaves
    correlations of up to 0.5 between neighbours; a denoiser that knows only independent noise
    takes these for structure.
    """
    noise = torch.randn(shape, generator=source)
    for i in range(shape[0]):
        if generator.uniform() < 0.4:
            continue
        for dimension in (-1, -2):
            side = float(generator.uniform(0, 0.35))
            both = noise[i].roll(1, dimension) + noise[i].roll(-1, dimension)
            noise[i] = (noise[i] + side * both) / (1 + 2 * side**2) ** 0.5
    return noise


def free_noise(
    maps: Tensor, stack: Stack, generator: np.random.Generator, source: torch.Generator
) -> Noisy:
    """Add independent Gaussian noise of a random level, as the steps of a diffusion process do."""
    sd = torch.empty_like(maps)
    groups = list(itertools.pairwise((0, 1, 7, 22)))[: 2 if len(stack) == 7 else 3]
    for i in range(maps.shape[0]):
        for first, last in groups:
            sd[i, first:last] = float(np.exp(generator.uniform(np.log(0.01), np.log(0.6))))
    noise = correlated_noise(maps.shape, generator, source) * sd
    return Noisy(maps + noise, sd, torch.zeros_like(maps[:, 0]))
