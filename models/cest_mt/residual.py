"""How well estimated parameters explain a measured fingerprint."""

from __future__ import annotations

import numpy as np


def relative_residual(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Norm of what the prediction leaves of the measured signal, in percent of its norm.

    Each voxel's prediction is first scaled to explain as much of the measurement as it can, as
    the measured scale (coil sensitivity, proton density) is unknown. With a published dot
    product d between unit signals the residual is 100 sqrt(1 - d²).

    Args:
        measured: (voxels, images), any scale.
        predicted: (voxels, images), any scale.

    Returns:
        (voxels,) float32, 0 to 100; 0 where the measured signal is zero everywhere.

    Raises:
        ValueError: the shapes differ.
    """
    if measured.shape != predicted.shape:
        raise ValueError(f"measured {measured.shape} and predicted {predicted.shape} differ")
    measured = _unit(measured)
    predicted = _unit(predicted)
    scale = np.einsum("vi,vi->v", measured, predicted)[:, None]
    remainder = measured - scale * predicted
    return np.asarray(100 * np.sqrt(np.einsum("vi,vi->v", remainder, remainder)), dtype=np.float32)


def _unit(signal: np.ndarray) -> np.ndarray:
    signal = signal / np.maximum(np.abs(signal).max(axis=1, keepdims=True), 1e-30)
    norm = np.sqrt(np.einsum("vi,vi->v", signal, signal))[:, None]
    return np.asarray(signal / np.maximum(norm, 1.0), dtype=np.float32)
