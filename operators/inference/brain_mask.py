"""Where there is tissue, and where the brain probably is, from one image.

Otsu's threshold on a smoothed image, then morphology, after the idea of DIPY's
``median_otsu`` (Otsu, IEEE Trans. SMC 9:62 (1979), doi 10.1109/TSMC.1979.4310076).

Limits: the brain is taken to be the largest bright body once thin bridges are cut, which
holds for heads in spin-echo EPI, where scalp and fat are dark. Eyes, bright scalp, surface
coil shading, and slices far from the brain can add or lose voxels; in an image of anything
else it is the largest bright body. The mask serves statistics and pictures: it decides no
map value.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

#: Radius of the ball that cuts bridges between brain and scalp, mm.
OPENING_RADIUS = 6.0
#: Radius of the ball that fills the dark rims (sulci, ventricles in T1 weighting), mm.
CLOSING_RADIUS = 6.0
#: Side of the cube over which the image is averaged before it is thresholded, mm.
SMOOTHING_WIDTH = 4.0
#: Share of Otsu's threshold above which tissue counts as bright, so that parts far from the
#: coils are kept.
BRAIN_THRESHOLD = 0.5
#: Robust SDs above the median of the dark voxels up to which a voxel may be air.
AIR_DEVIATIONS = 6.0
_BINS = 256
_MAD_TO_SD = 1.4826


def otsu_threshold(values: np.ndarray) -> float:
    """Value that splits ``values`` into two classes of greatest variance between them.

    Args:
        values: any shape, finite. The histogram has 256 bins up to the 99.5th percentile, so
            that a few bright voxels do not coarsen it.

    Returns:
        The threshold, in the unit of ``values``; their minimum where all are equal.
    """
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    if not high > low:
        return low
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = sums / below - (sums[-1] - sums) / above
    between = np.where((below > 0) & (above > 0), below * above * distance**2, 0.0)
    # Between two separate classes every threshold is as good: take the middle one.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-6))
    return float(edges[1 + (best[0] + best[-1]) // 2])


def foreground_mask(image: np.ndarray) -> np.ndarray:
    """Voxels that are brighter than air.

    Generous on purpose, as the masks of scanners are: the threshold is six robust SDs above the
    median of all that is dark, but at least a tenth of the threshold between dark and bright
    (where air was set to zero) and at most that.

    Args:
        image: (slices, rows, columns), finite.

    Returns:
        Boolean, same shape, holes filled in each slice.
    """
    between = otsu_threshold(image)
    dark = image[image <= between]
    air = float(np.median(dark))
    spread = _MAD_TO_SD * float(np.median(np.abs(dark - air)))
    foreground = image > min(between, max(between / 10, air + AIR_DEVIATIONS * spread))
    return np.stack([ndimage.binary_fill_holes(plane) for plane in foreground])


def brain_mask(image: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The largest bright body, without what hangs on it by thin bridges.

    Args:
        image: (slices, rows, columns), finite; without or with low diffusion weighting.
        spacing: distance of slices, rows and columns, mm.

    Returns:
        Boolean, same shape; empty where the image is constant.
    """
    width = [max(1, round(SMOOTHING_WIDTH / step)) for step in spacing]
    smooth = ndimage.uniform_filter(image.astype(np.float32), size=width)
    if not smooth.max() > smooth.min():
        return np.zeros(image.shape, dtype=bool)
    bright = smooth > BRAIN_THRESHOLD * otsu_threshold(smooth)
    core = _erode(bright, spacing, OPENING_RADIUS)
    labels, found = ndimage.label(core)
    if found == 0:
        return np.zeros(image.shape, dtype=bool)
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    # Smoothing has moved the rim outwards, so the image itself decides there.
    bright &= image > BRAIN_THRESHOLD * otsu_threshold(image)
    body = bright & _within(largest, spacing, OPENING_RADIUS)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in _close(body, spacing)])


def _within(mask: np.ndarray, spacing: tuple[float, float, float], radius: float) -> np.ndarray:
    """Voxels at most ``radius`` mm from ``mask``, by distance transform: any ball, one price."""
    return ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius


def _close(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Fill clefts narrower than the ball, as if the body went on beyond the image."""
    margins = [int(CLOSING_RADIUS // step) + 1 for step in spacing]
    padded = np.pad(mask, [(margin, margin) for margin in margins], mode="edge")
    eroded = _erode(_within(padded, spacing, CLOSING_RADIUS), spacing, CLOSING_RADIUS)
    inner = tuple(slice(margin, -margin) for margin in margins)
    return mask | eroded[inner]


def _erode(mask: np.ndarray, spacing: tuple[float, float, float], radius: float) -> np.ndarray:
    """Erode without eating in from the border of the image, where the body is only cut."""
    padded = np.pad(mask, 1, mode="edge")
    distance = ndimage.distance_transform_edt(padded, sampling=spacing)
    return distance[1:-1, 1:-1, 1:-1] > radius
