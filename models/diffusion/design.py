"""The linear equations of the diffusion tensor; numpy alone, so that tables are checked fast."""

from __future__ import annotations

import numpy as np

#: Unknowns of a voxel: six tensor elements and ln S0.
PARAMETERS = 7
#: A protocol of which the design's singular values span more does not determine the tensor.
LARGEST_CONDITION = 1e4


def design_matrix(b_values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Rows x with ln S = x · (Dxx, Dyy, Dzz, Dxy, Dxz, Dyz, ln S0).

    Args:
        b_values: (volumes,) in the reciprocal unit of D.
        directions: (volumes, 3) unit vectors, or zero rows.

    Returns:
        (volumes, 7), float64.
    """
    b = np.asarray(b_values, dtype=np.float64)
    x, y, z = np.asarray(directions, dtype=np.float64).T
    products = np.stack((x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z))
    return np.column_stack((*(-b * products), np.ones(len(b))))


def condition(b_values: np.ndarray, directions: np.ndarray) -> float:
    """Ratio of largest to smallest singular value of the design, with b in units of its maximum.

    Infinite where volumes are fewer than the seven unknowns or b is zero throughout.
    """
    largest = float(np.max(b_values, initial=0.0))
    if len(b_values) < PARAMETERS or largest == 0:
        return float("inf")
    return float(np.linalg.cond(design_matrix(np.asarray(b_values) / largest, directions)))
