"""The frame of FSL's bvec files, in which dcm2niix writes its tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fsl_bvecs(directions: np.ndarray, orientation: Sequence[float]) -> np.ndarray:
    """Directions in the frame of FSL's bvec files: (g·row, -g·column, g·(row × column)).

    Args:
        directions: (volumes, 3), LPS.
        orientation: (6,) Image Orientation (Patient).

    Returns:
        (volumes, 3).
    """
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return np.asarray(directions) @ np.stack([row, -column, np.cross(row, column)], axis=1)
