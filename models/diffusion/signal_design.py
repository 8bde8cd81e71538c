"""The logarithm of the signal as a linear function of the channels of a stack."""

from __future__ import annotations

import numpy as np
import torch

from models.diffusion.channels import kurtosis_to_mandel, tensor_to_mandel
from models.diffusion.signal import kurtosis_basis
from models.diffusion.tensor_fit import design_matrix


def log_design(b_values: np.ndarray, directions: np.ndarray, kurtosis: bool) -> np.ndarray:
    """Rows x with ln(S / reference) = x · channels, for the stacks DTI and DKI.

    Returns:
        (volumes, 7 or 22); b enters in s/mm², channels are as in the stack.
    """
    b = np.asarray(b_values, dtype=np.float64) / 1e3
    linear = design_matrix(b, directions)
    # Coefficients of Mandel's channels: divide by the roots that the channels carry.
    columns = [linear[:, 6:], linear[:, :6] / tensor_to_mandel(np.ones(6))]
    if kurtosis:
        basis = kurtosis_basis(torch.as_tensor(directions, dtype=torch.float64)).numpy()
        columns.append(b[:, None] ** 2 / 6 * basis / kurtosis_to_mandel(np.ones(15)))
    return np.column_stack(columns)
