"""Scalars of the kurtosis tensor: mean, axial and radial kurtosis, in closed or nearly closed form.

Definitions: Tabesh, Jensen, Ardekani, Helpern, Magn. Reson. Med. 65:823 (2011),
doi 10.1002/mrm.22655. Kurtosis along n is K(n) = MD² W(n) / D(n)². In the frame of the diffusion
tensor its averages need only the means of n_i² n_j² / D(n)² over directions. Over a plane these
are elementary. Over the sphere they are elliptic integrals, singular in their usual form where
eigenvalues coincide; written as an average over a Gaussian vector instead, with
1/D² = ∫ t exp(-t D) dt, each becomes one smooth integral over (0, 1), which Gauss and Legendre's
rule gives to ten digits with few nodes.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from models.diffusion.signal import kurtosis_basis

_NODES = 16


def along(kurtosis: Tensor, directions: Tensor) -> Tensor:
    """Fourth-order form Σ W_ijkl n_i n_j n_k n_l of each voxel along its own direction.

    Args:
        kurtosis: (voxels, 15) elements.
        directions: (voxels, 3).

    Returns:
        (voxels,).
    """
    return (kurtosis_basis(directions) * kurtosis).sum(dim=-1)


def kurtosis_scalars(
    eigenvalues: Tensor, frame: Tensor, kurtosis: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, axial and radial kurtosis.

    Args:
        eigenvalues: (voxels, 3) of the diffusion tensor, descending and positive, mm²/s.
        frame: (voxels, 3, 3) unit eigenvectors in its columns.
        kurtosis: (voxels, 15) kurtosis tensor W, without unit.

    Returns:
        MK, AK and RK, each (voxels,). Means over the sphere, along the first eigenvector, and
        over the directions across it.
    """
    e = frame.unbind(dim=-1)
    diagonal = torch.stack([along(kurtosis, axis) for axis in e], dim=-1)
    pairs = ((0, 1), (0, 2), (1, 2))
    # W_iijj by polarisation: the sum along e_i ± e_j has no odd terms.
    mixed = torch.stack(
        [
            (along(kurtosis, e[i] + e[j]) + along(kurtosis, e[i] - e[j])) / 12
            - (diagonal[:, i] + diagonal[:, j]) / 6
            for i, j in pairs
        ],
        dim=-1,
    )
    mean_diffusivity = eigenvalues.mean(dim=-1)
    means = _sphere_means(eigenvalues / mean_diffusivity[:, None])
    mean = (diagonal * means[:, :3]).sum(dim=-1) + 6 * (mixed * means[:, 3:]).sum(dim=-1)
    axial = diagonal[:, 0] * (mean_diffusivity / eigenvalues[:, 0]) ** 2

    # Means over the circle of cos⁴, sin⁴ and cos² sin² over (a² cos² + b² sin²)².
    a, b = torch.sqrt(eigenvalues[:, 1:] / mean_diffusivity[:, None]).unbind(dim=-1)
    radial = (
        diagonal[:, 1] * (b + 2 * a) / a**3
        + diagonal[:, 2] * (a + 2 * b) / b**3
        + 6 * mixed[:, 2] / (a * b)
    ) / (2 * (a + b) ** 2)
    return mean, axial, radial


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    return (node + 1) / 2, weight / 2


def _sphere_means(ratio: Tensor) -> Tensor:
    """Means over the sphere of n_i² n_j² / (Σ r_k n_k²)²; (voxels, 6): 11, 22, 33, 12, 13, 23."""
    node, weight = (torch.as_tensor(a, dtype=ratio.dtype) for a in _nodes())
    total = ratio.new_zeros((ratio.shape[0], 6))
    for u, w in zip(node, weight, strict=True):
        q = 1 / (ratio + (1 - ratio) * u**2)
        common = w * (1 - u**2) * u**2 / 2 * torch.sqrt(q.prod(dim=-1))
        x, y, z = q.unbind(dim=-1)
        products = torch.stack((3 * x * x, 3 * y * y, 3 * z * z, x * y, x * z, y * z), dim=-1)
        total += common[:, None] * products
    return total
