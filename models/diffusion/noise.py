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
_TO_STANDARD_DEVIATION = 1.4826
# Squares beyond this multiple of the median are artefacts, not noise.
_LARGEST_SQUARE = 9.0


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


def high_pass_noise(signals: np.ndarray, brain: np.ndarray) -> float:
    """First estimate of the noise SD, from what a second difference leaves of each volume.

    Structure raises it and interpolation lowers it, so it only starts
    :func:`local_noise`.

    Args:
        signals: (slices, rows, columns, volumes).
        brain: (slices, rows, columns).

    Returns:
        The median over volumes, in the unit of the signals.
    """
    inner = ndimage.binary_erosion(brain, np.ones((1, 3, 3)))
    inner = inner if inner.any() else brain
    kernel = np.array([1.0, -2.0, 1.0])
    found = []
    for volume in np.moveaxis(signals, -1, 0):
        difference = ndimage.convolve1d(ndimage.convolve1d(volume, kernel, axis=1), kernel, axis=2)
        # The squared weights of the two-dimensional kernel sum to 36.
        found.append(np.median(np.abs(difference[inner])) / 6)
    return float(_TO_STANDARD_DEVIATION * np.median(found))


def local_noise(
    squares: np.ndarray, brain: np.ndarray, voxel: tuple[float, float, float], width: float = 8.0
) -> np.ndarray:
    """Noise SD that varies smoothly over the brain, as coils and parallel imaging make it.

    Args:
        squares: (voxels,) expected squared residual of each voxel of the brain.
        brain: (slices, rows, columns).
        voxel: size along slices, rows, columns, mm.
        width: SD of the Gaussian window, mm.

    Returns:
        (voxels,) in the unit of the root of ``squares``.
    """
    grid = np.zeros(brain.shape, dtype=np.float32)
    grid[brain] = np.minimum(squares, _LARGEST_SQUARE * np.median(squares))
    sigmas = [width / size for size in voxel]
    smooth = ndimage.gaussian_filter(grid, sigmas)
    weight = ndimage.gaussian_filter(brain.astype(np.float32), sigmas)
    return np.sqrt(smooth[brain] / np.maximum(weight[brain], 1e-6))
