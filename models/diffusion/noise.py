"""How noisy a series is, and how probable its signals are.

Magnitude images follow Rice's distribution (Gudbjartsson, Patz, Magn. Reson. Med. 34:910 (1995),
doi 10.1002/mrm.1910340618). Above some three times the noise level it is Gaussian.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

#: Signal over noise below which a magnitude is mostly noise: there its mean exceeds the true
#: signal by more than a tenth.
FLOOR_RATIO = 2.2
_MEAN_ABSOLUTE_TO_SD = (np.pi / 2) ** 0.5
# Deviations beyond this multiple of the median are edges and artefacts, not noise.
_LARGEST_DEVIATION = 4.0
# The same for the mean square of a voxel's residuals: with few degrees of freedom it varies much.
_LARGEST_SQUARE = 10.0
# No more than this is believed of a correction of the noise level.
_LARGEST_FACTOR = 2.0
# b-values that round to the same multiple of this, s/mm², count as one.
_SAME_B = 100.0
# SD of the window over which noise is averaged, mm.
_WINDOW = 12.0


def rician_log_likelihood(measured: Tensor, predicted: Tensor, sigma: Tensor) -> Tensor:
    """Log density of magnitudes under Rice's distribution, differentiable in ``predicted``.

    Args:
        measured: (..., volumes) magnitudes, not negative.
        predicted: (..., volumes) noise-free signals.
        sigma: SD of the noise in the real and the imaginary part, broadcast over the volumes.

    Returns:
        (..., volumes) natural logarithm of the density.
    """
    ratio = measured * predicted / sigma**2
    # I0 scaled by exp(-x) never overflows.
    bessel = torch.log(torch.special.i0e(ratio)) + ratio
    exponent = (measured**2 + predicted**2) / (2 * sigma**2)
    return torch.log(measured.clamp(min=1e-30) / sigma**2) - exponent + bessel


def at_noise_floor(signals: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
    """Where a signal cannot be told from noise; boolean, shape of ``signals``.

    Args:
        signals: (..., volumes).
        sigma: noise SD, a number or (...,).
    """
    return signals < FLOOR_RATIO * np.asarray(sigma)[..., None]


def high_pass_noise(
    signals: np.ndarray,
    brain: np.ndarray,
    b_values: np.ndarray,
    voxel: tuple[float, float, float],
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Noise SD that varies smoothly over the brain, as coils and parallel imaging make it.

    Works on a single volume of each direction, where residuals of a fit say nothing. Volumes of
    one b share the structure of the head; what a second difference along rows and columns leaves
    of their deviation from their mean is nearly noise alone. Where volumes were interpolated,
    noise is correlated between neighbours and the estimate is low, by a quarter or so.

    Args:
        signals: (slices, rows, columns, volumes).
        brain: (slices, rows, columns), not empty.
        b_values: (volumes,) s/mm².
        voxel: size along slices, rows, columns, mm.
        device: where it is computed.

    Returns:
        (voxels,) in the unit of the signals, positive.
    """
    inner = ndimage.binary_erosion(brain, np.ones((1, 3, 3)))
    inner = inner if inner.any() else brain
    chosen = torch.as_tensor(inner, device=device)
    total = torch.zeros(brain.shape, dtype=torch.float64, device=device)
    volumes = 0
    for group in _alike(b_values):
        mean = signals[..., group].mean(axis=-1) if len(group) > 1 else 0.0
        left = np.sqrt(1 - 1 / len(group)) if len(group) > 1 else 1.0
        for volume in group:
            deviation = torch.as_tensor(signals[..., volume] - mean, device=device)
            rough = _second_difference(_second_difference(deviation, -2), -1)
            # The squared weights of the two-dimensional kernel sum to 36.
            absolute = rough.abs() / (6 * left)
            total += absolute.clamp(max=_LARGEST_DEVIATION * float(absolute[chosen].median()))
            volumes += 1
    mean_absolute = total.cpu().numpy() / volumes
    return _smooth(_MEAN_ABSOLUTE_TO_SD * mean_absolute, inner, brain, voxel)


def residual_noise(
    residuals: Tensor, unknowns: int, brain: np.ndarray, voxel: tuple[float, float, float]
) -> np.ndarray:
    """Noise SD that varies smoothly over the brain, from what a fit leaves.

    Unlike differences between neighbours it does not depend on how noise is correlated over
    space, nor on how fine anatomy is; it needs more volumes than unknowns.

    Args:
        residuals: (voxels, volumes) measured minus predicted signal.
        unknowns: of the fit in each voxel.
        brain: bool (slices, rows, columns) with that many voxels.
        voxel: size along slices, rows, columns, mm.

    Returns:
        (voxels,) in the unit of the signals, positive.

    Raises:
        ValueError: no more volumes than unknowns.
    """
    freedom = residuals.shape[1] - unknowns
    if freedom < 1:
        raise ValueError(f"{residuals.shape[1]} volumes leave no residual of {unknowns} unknowns")
    square = residuals.double().square().sum(dim=1) / freedom
    square = square.clamp(max=_LARGEST_SQUARE * float(square.median()))
    grid = np.zeros(brain.shape)
    grid[brain] = square.cpu().numpy()
    return np.sqrt(_smooth(grid, brain, brain, voxel))


def noise_factor(
    square: np.ndarray,
    expected: np.ndarray,
    usable: np.ndarray,
    brain: np.ndarray,
    voxel: tuple[float, float, float],
) -> np.ndarray:
    """By how much a noise level is to be multiplied so that deviations are as large as expected.

    Args:
        square: (voxels, elements) squared deviations in units of the variance assumed.
        expected: (voxels, elements) what they average to where that variance is right.
        usable: bool (voxels,).
        brain: bool (slices, rows, columns) with that many voxels.
        voxel: size along slices, rows, columns, mm.

    Returns:
        (voxels,), smooth, between a half and two.
    """

    def local(values: np.ndarray) -> np.ndarray:
        grid, inside = np.zeros(brain.shape), np.zeros(brain.shape, dtype=bool)
        grid[brain], inside[brain] = values.mean(axis=1), usable
        return _smooth(grid, inside, brain, voxel)

    ratio = local(square.clip(max=_LARGEST_SQUARE)) / local(expected)
    return np.sqrt(ratio).clip(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)


def _smooth(
    values: np.ndarray, inside: np.ndarray, brain: np.ndarray, voxel: tuple[float, float, float]
) -> np.ndarray:
    """Local mean over the voxels ``inside``; (voxels,) of the brain, positive."""
    sigmas = [_WINDOW / size for size in voxel]
    smooth = ndimage.gaussian_filter(np.where(inside, values, 0.0), sigmas)
    weight = ndimage.gaussian_filter(inside.astype(np.float64), sigmas)
    level = smooth[brain] / np.maximum(weight[brain], 1e-6)
    return np.maximum(level, 1e-6 * max(float(level.max()), 1e-30))


def _second_difference(values: Tensor, dimension: int) -> Tensor:
    """1, -2, 1 along a dimension; the border counts twice."""
    length = values.shape[dimension]
    before = torch.cat(
        (values.narrow(dimension, 0, 1), values.narrow(dimension, 0, length - 1)), dimension
    )
    after = torch.cat(
        (values.narrow(dimension, 1, length - 1), values.narrow(dimension, length - 1, 1)),
        dimension,
    )
    return before - 2 * values + after


def _alike(b_values: np.ndarray) -> list[np.ndarray]:
    """Volumes of each b above zero that has two or more; otherwise all volumes, one by one."""
    rounded = np.round(np.asarray(b_values) / _SAME_B)
    groups = [np.flatnonzero(rounded == b) for b in np.unique(rounded) if b > 0]
    groups = [group for group in groups if len(group) > 1]
    return groups or [np.array([volume]) for volume in range(len(b_values))]
