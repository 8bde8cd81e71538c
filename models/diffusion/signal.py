"""Forward models of the diffusion-weighted signal: tensor (DTI) and kurtosis (DKI).

Every function is batched over leading dimensions, differentiable, and works on any device
and floating-point type. Units: b in s/mm², diffusivities in mm²/s, signals in the unit of
S0, kurtosis without unit. Directions and tensors are in the patient frame (LPS): turning
both by one rotation leaves every signal unchanged.

Tensors are vectors of their unique elements:

- diffusion tensor, 6: Dxx, Dyy, Dzz, Dxy, Dxz, Dyz;
- kurtosis tensor, 15: xxxx, yyyy, zzzz, xxxy, xxxz, xyyy, yyyz, xzzz, yzzz, xxyy, xxzz,
  yyzz, xxyz, xyyz, xyzz.
"""

from __future__ import annotations

import torch
from torch import Tensor

TENSOR_ELEMENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
KURTOSIS_ELEMENTS = (
    (0, 0, 0, 0),
    (1, 1, 1, 1),
    (2, 2, 2, 2),
    (0, 0, 0, 1),
    (0, 0, 0, 2),
    (0, 1, 1, 1),
    (1, 1, 1, 2),
    (0, 2, 2, 2),
    (1, 2, 2, 2),
    (0, 0, 1, 1),
    (0, 0, 2, 2),
    (1, 1, 2, 2),
    (0, 0, 1, 2),
    (0, 1, 1, 2),
    (0, 1, 2, 2),
)
# How often each unique element occurs in the full sum over indices.
_TENSOR_MULTIPLICITY = (1, 1, 1, 2, 2, 2)
_KURTOSIS_MULTIPLICITY = (1, 1, 1, 4, 4, 4, 4, 4, 4, 6, 6, 6, 12, 12, 12)


def tensor_basis(directions: Tensor) -> Tensor:
    """Coefficients c with g'Dg = c · (Dxx, Dyy, Dzz, Dxy, Dxz, Dyz).

    Args:
        directions: (volumes, 3) unit vectors g, or zero rows.

    Returns:
        (volumes, 6).
    """
    columns = [
        multiplicity * directions[..., i] * directions[..., j]
        for multiplicity, (i, j) in zip(_TENSOR_MULTIPLICITY, TENSOR_ELEMENTS, strict=True)
    ]
    return torch.stack(columns, dim=-1)


def kurtosis_basis(directions: Tensor) -> Tensor:
    """Coefficients c with Σ W_ijkl g_i g_j g_k g_l = c · W for the 15 unique elements of W.

    Args:
        directions: (volumes, 3) unit vectors g, or zero rows.

    Returns:
        (volumes, 15).
    """
    columns = [
        multiplicity * directions[..., list(indices)].prod(dim=-1)
        for multiplicity, indices in zip(_KURTOSIS_MULTIPLICITY, KURTOSIS_ELEMENTS, strict=True)
    ]
    return torch.stack(columns, dim=-1)


def dti_signal(s0: Tensor, tensor: Tensor, b_values: Tensor, directions: Tensor) -> Tensor:
    """Signal of Gaussian diffusion, S = S0 exp(-b g'Dg).

    Basser, Mattiello, Le Bihan, J. Magn. Reson. B 103:247 (1994), doi 10.1006/jmrb.1994.1037.

    Args:
        s0: (...,) signal without diffusion weighting.
        tensor: (..., 6) diffusion tensor, mm²/s.
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors, LPS.

    Returns:
        (..., volumes), in the unit of ``s0``.
    """
    attenuation = tensor @ (b_values[:, None] * tensor_basis(directions)).T
    return s0[..., None] * torch.exp(-attenuation)


def dki_signal(
    s0: Tensor, tensor: Tensor, kurtosis: Tensor, b_values: Tensor, directions: Tensor
) -> Tensor:
    """Signal to second order in b, ln S = ln S0 - b g'Dg + b²/6 MD² Σ W_ijkl g_i g_j g_k g_l.

    Jensen, Helpern, Ramani, Lu, Kaczynski, Magn. Reson. Med. 53:1432 (2005),
    doi 10.1002/mrm.20508. MD is a third of the trace of the tensor.

    Args:
        s0: (...,) signal without diffusion weighting.
        tensor: (..., 6) diffusion tensor, mm²/s.
        kurtosis: (..., 15) kurtosis tensor W.
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors, LPS.

    Returns:
        (..., volumes), in the unit of ``s0``.
    """
    attenuation = tensor @ (b_values[:, None] * tensor_basis(directions)).T
    mean_diffusivity = tensor[..., :3].mean(dim=-1, keepdim=True)
    curvature = (mean_diffusivity**2 * kurtosis) @ (
        b_values[:, None] ** 2 / 6 * kurtosis_basis(directions)
    ).T
    return s0[..., None] * torch.exp(curvature - attenuation)
