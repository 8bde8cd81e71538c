"""Image metrics of super-resolution, as the field states them: HFEN and SSIM inside a mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, gaussian_laplace

Array = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

DATA_RANGE = {"proton_density": 1.0, "t1": 5000.0, "t2": 2500.0}
"""Data range of SSIM for each map, in the unit of the map; for an image, the caller's."""


def hfen(image: Array, reference: Array, mask: Mask) -> float:
    """High-frequency error norm (Ravishankar and Bresler 2011, doi 10.1109/TMI.2010.2090538).

    Laplacian of Gaussian of σ 1.5 on 15×15 pixels; the norm of the difference over the norm of
    the reference, over the mask, per slice, then the mean over slices.

    Args:
        image: (rows, columns) or (slices, rows, columns).
        reference: same shape.
        mask: same shape; slices without a voxel do not count.

    Returns:
        Error, 0 for equal images.
    """
    errors = []
    for x, y, inside in _slices(image, reference, mask):
        edges_x = gaussian_laplace(x, sigma=1.5, truncate=4.333)
        edges_y = gaussian_laplace(y, sigma=1.5, truncate=4.333)
        errors.append(np.linalg.norm((edges_x - edges_y)[inside]) / np.linalg.norm(edges_y[inside]))
    return float(np.mean(errors))


def ssim(image: Array, reference: Array, mask: Mask, data_range: float) -> float:
    """Structural similarity (Wang et al. 2004, doi 10.1109/TIP.2003.819861).

    Gaussian window of 11×11 pixels and σ 1.5, K1 0.01, K2 0.03; the mean over the mask, per
    slice, then over slices.

    Args:
        image: (rows, columns) or (slices, rows, columns).
        reference: same shape.
        mask: same shape; slices without a voxel do not count.
        data_range: largest minus smallest value that the images can have.

    Returns:
        Similarity, 1 for equal images.
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    def blurred(values: Array) -> Array:
        return gaussian_filter(values, sigma=1.5, truncate=3.5)

    similarities = []
    for x, y, inside in _slices(image, reference, mask):
        mean_x, mean_y = blurred(x), blurred(y)
        variance_x = blurred(x * x) - mean_x**2
        variance_y = blurred(y * y) - mean_y**2
        covariance = blurred(x * y) - mean_x * mean_y
        local = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
            (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
        )
        similarities.append(local[inside].mean())
    return float(np.mean(similarities))


def _slices(image: Array, reference: Array, mask: Mask) -> list[tuple[Array, Array, Mask]]:
    """Pairs of slices in float64, with the mask that says which voxels count."""
    stacked = [np.reshape(a, (-1, *np.shape(a)[-2:])) for a in (image, reference, mask)]
    return [
        (x.astype(np.float64), y.astype(np.float64), inside)
        for x, y, inside in zip(*stacked, strict=True)
        if inside.any()
    ]
