"""Volumes and slices that a fit explains much worse than their like: motion, lost signal.

Two measures, both medians over the voxels of a slice, so that a few bad voxels do not decide:

- *deviation*, the size of the residuals: head motion raises it in most slices of a volume;
- *bias*, the residual relative to the prediction: a slice that lost signal (motion during its
  diffusion gradients) or gained some (spikes) has far more of it than noise gives.

Each is compared with the median over the volumes of the same shell in the same slice, and with
how much such differences scatter. Small movements stay below both.
"""

from __future__ import annotations

import numpy as np

#: How many robust SDs a volume's deviation must stand out by, and by what ratio at least.
VOLUME_DEVIATIONS = 4.0
LEAST_RATIO = 2.0
#: How many robust SDs a slice's bias must stand out by, and by how much at least.
SLICE_DEVIATIONS = 6.0
LEAST_BIAS = 0.15
#: Shells of fewer volumes, and slices of fewer voxels, are not judged.
LEAST_VOLUMES = 5
LEAST_VOXELS = 200

_MAD_TO_SD = 1.4826


def outlier_volumes(deviation: np.ndarray, voxels: np.ndarray, shells: np.ndarray) -> np.ndarray:
    """Volumes whose residuals are large in most slices.

    Args:
        deviation: (slices, volumes) median of the absolute residuals.
        voxels: (slices,) number of voxels of each slice.
        shells: (volumes,) number of the shell of each volume.

    Returns:
        Indices of volumes, ascending.
    """
    judged = deviation[(voxels >= LEAST_VOXELS) & (deviation > 0).all(axis=1)]
    found: list[int] = []
    for members in _judged_shells(shells):
        if not len(judged):
            break
        logarithm = np.log(judged[:, members])
        ratio = np.median(logarithm - np.median(logarithm, axis=1, keepdims=True), axis=0)
        limit = max(VOLUME_DEVIATIONS * _robust_sd(ratio), np.log(LEAST_RATIO))
        found += list(members[ratio > limit])
    return np.sort(np.array(found, dtype=int))


def outlier_slices(bias: np.ndarray, voxels: np.ndarray, shells: np.ndarray) -> np.ndarray:
    """Slices of single volumes that lost or gained signal.

    Of the volumes that stand out in one slice only those with at least half of the largest bias
    are named: a bad volume also pushes the others off the fit.

    Args:
        bias: (slices, volumes) median residual over median prediction.
        voxels: (slices,) number of voxels of each slice.
        shells: (volumes,) number of the shell of each volume.

    Returns:
        Boolean (slices, volumes).
    """
    found = np.zeros(bias.shape, dtype=bool)
    judged = np.flatnonzero((voxels >= LEAST_VOXELS) & np.isfinite(bias).all(axis=1))
    for members in _judged_shells(shells):
        if not len(judged):
            break
        part = bias[np.ix_(judged, members)]
        difference = np.abs(part - np.median(part, axis=1, keepdims=True))
        limit = max(SLICE_DEVIATIONS * _MAD_TO_SD * float(np.median(difference)), LEAST_BIAS)
        largest = difference.max(axis=1, keepdims=True)
        found[np.ix_(judged, members)] = (difference > limit) & (difference >= largest / 2)
    return found


def _judged_shells(shells: np.ndarray) -> list[np.ndarray]:
    """Indices of the volumes of each shell that has enough of them."""
    every = [np.flatnonzero(shells == shell) for shell in np.unique(shells)]
    return [members for members in every if len(members) >= LEAST_VOLUMES]


def _robust_sd(values: np.ndarray) -> float:
    return _MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))
