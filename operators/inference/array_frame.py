"""Directions and tensors between the patient frame and the frame of an array.

The prior works on stacks of slices: its x runs along columns, y along rows, z along slices. The
axes need not be right-handed; tensors do not care.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np

from models.diffusion.signal import TENSOR_ELEMENTS


def array_axes(geometry: hd.VolumeGeometry) -> np.ndarray:
    """(3, 3) unit vectors (LPS) along columns, rows and slices of an array, as columns.

    Args:
        geometry: grid (slices, rows, columns) with axes at right angles.
    """
    return np.stack(geometry.unit_vectors()[::-1], axis=1)


def directions_in_array(directions: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(volumes, 3) directions of the patient frame in the frame of the array."""
    return directions @ axes


def vectors_in_patient(vectors: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(voxels, 3) vectors of the array's frame in the patient frame."""
    return vectors @ axes.T


def tensors_in_patient(elements: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """(voxels, 6) elements xx, yy, zz, xy, xz, yz of tensors, from the array's frame.

    D becomes R D R', written as a matrix that acts on the six elements.
    """
    turn = np.empty((6, 6))
    for row, (i, j) in enumerate(TENSOR_ELEMENTS):
        for column, (k, m) in enumerate(TENSOR_ELEMENTS):
            turn[row, column] = axes[i, k] * axes[j, m]
            if k != m:
                turn[row, column] += axes[i, m] * axes[j, k]
    return elements @ turn.T
