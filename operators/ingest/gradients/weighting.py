"""Diffusion weighting of one image, and the frames in which vendors state directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNWEIGHTED = 50.0
"""b below which an image counts as not weighted, in s/mm²: scanners write b0 as 0, .001, 1.25 …"""

_NO_DIRECTION = 0.01
"""Length below which a gradient direction is none."""


@dataclass(frozen=True)
class Weighting:
    """Diffusion weighting of one image.

    Attributes:
        b_value: s/mm².
        direction: (3,) unit vector, LPS, or None without one.
        isotropic: a trace image, made from several directions.
        source: which elements said so.
        nominal_b_value: b before a correction by the length of the direction.
        sign_known: False where the direction comes from a b-matrix, which leaves its sign open.
    """

    b_value: float
    direction: tuple[float, ...] | None
    isotropic: bool
    source: str
    nominal_b_value: float | None = None
    sign_known: bool = True

    @property
    def weighted(self) -> bool:
        """Whether b is that of a weighted image."""
        return self.b_value >= UNWEIGHTED


def unit_vector(vector: Sequence[float] | np.ndarray | None) -> tuple[float, ...] | None:
    """``vector`` at unit length, or None where it is absent or of no length."""
    if vector is None:
        return None
    length = float(np.linalg.norm(vector))
    if length < _NO_DIRECTION:
        return None
    return tuple(float(part) / length for part in vector)


def image_to_patient(vector: Sequence[float], orientation: Sequence[float]) -> tuple[float, ...]:
    """A vector along (row cosine, column cosine, row × column), in LPS.

    Args:
        vector: (3,).
        orientation: (6,) Image Orientation (Patient).
    """
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    patient = vector[0] * row + vector[1] * column + vector[2] * np.cross(row, column)
    return tuple(float(part) for part in patient)


def principal_direction(b_matrix: Sequence[float]) -> tuple[float, ...] | None:
    """Direction of a b-matrix up to its sign: eigenvector of its largest eigenvalue.

    Args:
        b_matrix: (6,) xx, xy, xz, yy, yz, zz in s/mm².

    Returns:
        (3,) unit vector with a positive largest component, or None for a matrix of zeros.
    """
    xx, xy, xz, yy, yz, zz = b_matrix
    values, vectors = np.linalg.eigh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if values[2] <= 0:
        return None
    vector = vectors[:, 2]
    return unit_vector(vector * np.sign(vector[np.abs(vector).argmax()]))
