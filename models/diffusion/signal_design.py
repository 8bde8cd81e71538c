"""The logarithm of the signal as a linear function of the channels of the tensor's stack."""

from __future__ import annotations

import numpy as np

from models.diffusion.channels import tensor_to_mandel
from models.diffusion.design import design_matrix


def log_design(b_values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Rows x with ln(S / reference) = x · channels.

    Returns:
        (volumes, 7); b enters in s/mm², channels are as in the stack.
    """
    b = np.asarray(b_values, dtype=np.float64) / 1e3
    linear = design_matrix(b, directions)
    # Coefficients of Mandel's channels: divide by the roots that the channels carry.
    return np.column_stack((linear[:, 6:], linear[:, :6] / tensor_to_mandel(np.ones(6))))
