"""Rotation-invariant scalars of the diffusion tensor, and the colour of its direction.

Basser, Pierpaoli, J. Magn. Reson. B 111:209 (1996), doi 10.1006/jmrb.1996.0086;
colours: Pajevic, Pierpaoli, Magn. Reson. Med. 42:526 (1999),
doi 10.1002/(SICI)1522-2594(199909)42:3<526::AID-MRM15>3.0.CO;2-J.
Eigenvalues are (..., 3), descending, in mm²/s.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mean_diffusivity(eigenvalues: Tensor) -> Tensor:
    """MD, mm²/s: mean of the eigenvalues; (...,)."""
    first, second, third = eigenvalues.unbind(dim=-1)
    return (first + second + third) / 3


def axial_diffusivity(eigenvalues: Tensor) -> Tensor:
    """AD, mm²/s: the largest eigenvalue; (...,)."""
    return eigenvalues[..., 0]


def radial_diffusivity(eigenvalues: Tensor) -> Tensor:
    """RD, mm²/s: mean of the two smaller eigenvalues; (...,)."""
    return (eigenvalues[..., 1] + eigenvalues[..., 2]) / 2


def fractional_anisotropy(eigenvalues: Tensor) -> Tensor:
    """FA, 0 (isotropic) to 1 (diffusion along one line only); 0 for a zero tensor; (...,)."""
    first, second, third = eigenvalues.unbind(dim=-1)
    squares = first**2 + second**2 + third**2
    differences = (first - second) ** 2 + (second - third) ** 2 + (third - first) ** 2
    return (differences / (2 * torch.where(squares > 0, squares, 1.0))).sqrt()


def direction_colour(principal: Tensor, anisotropy: Tensor) -> Tensor:
    """Colour FA: red left-right, green anterior-posterior, blue superior-inferior, times FA.

    Args:
        principal: (..., 3) unit vectors, LPS; their sign does not matter.
        anisotropy: (...,) FA, 0 to 1.

    Returns:
        (..., 3) uint8, rounded from FA·|v|·255.
    """
    return (principal.abs() * anisotropy[..., None] * 255).round().to(torch.uint8)
