"""A diffusion series on the frame of its array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Series:
    """A real series on the frame of its array.

    Attributes:
        signals: float32 (slices, rows, columns, volumes).
        b_values: (volumes,) s/mm².
        directions: (volumes, 3), x along columns, y along rows, z along slices.
        brain: (slices, rows, columns).
        voxel: size along slices, rows and columns, mm.
    """

    signals: np.ndarray
    b_values: np.ndarray
    directions: np.ndarray
    brain: np.ndarray
    voxel: np.ndarray
