"""Tensor scalars and their standard deviations from an adapted prior.

Standard deviations follow from the posterior covariance of the tensor to first order. FA is not
differentiable where it is 0; there its slope is bounded, so its SD is at most what a small
anisotropy would have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.adapt import Adapted
from models.diffusion.channels import mandel_to_tensor
from models.diffusion.eigen import symmetric_eigen
from models.diffusion.scalars import fractional_anisotropy

# mm²/s in one µm²/ms.
_TO_MM2_PER_S = 1e-3
#: Eigenvalues are raised to this, mm²/s, as the plain fit raises them.
SMALLEST_EIGENVALUE = 1e-9
_SMALLEST_ANISOTROPY = 0.05


@dataclass(frozen=True)
class TensorMaps:
    """Scalars of a batch of voxels and their SD; float64, diffusivities in mm²/s.

    Attributes:
        s0: (voxels,) signal without weighting, in the unit of the signals.
        tensor: (voxels, 6) Dxx, Dyy, Dzz, Dxy, Dxz, Dyz in the frame of the directions.
        eigenvalues: (voxels, 3), descending.
        principal: (voxels, 3) first eigenvector.
        mean_diffusivity_sd: (voxels,).
        axial_diffusivity_sd: (voxels,).
        radial_diffusivity_sd: (voxels,).
        anisotropy_sd: (voxels,) SD of FA.
    """

    s0: Tensor
    tensor: Tensor
    eigenvalues: Tensor
    principal: Tensor
    mean_diffusivity_sd: Tensor
    axial_diffusivity_sd: Tensor
    radial_diffusivity_sd: Tensor
    anisotropy_sd: Tensor


def tensor_maps(adapted: Adapted) -> TensorMaps:
    """Scalars of adapted DTI channels.

    Args:
        adapted: of the stack DTI.
    """
    channels, covariance = adapted.channels[:, 1:7], adapted.covariance[:, 1:7, 1:7]
    tensor = torch.as_tensor(mandel_to_tensor(channels.numpy()))
    values, first = symmetric_eigen(tensor.T.contiguous())
    values, first = values.T.clamp(min=SMALLEST_EIGENVALUE / _TO_MM2_PER_S), first.T
    x, y, z = first.unbind(dim=1)
    root = np.sqrt(2)
    # How the largest eigenvalue moves with the channels (Mandel's notation): e1 e1'.
    axial = torch.stack((x * x, y * y, z * z, root * x * y, root * x * z, root * y * z), dim=1)
    trace = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=channels.dtype)
    radial = (trace - axial) / 2
    size = (channels**2).sum(dim=1).clamp(min=1e-12)
    total = channels[:, :3].sum(dim=1)
    anisotropy = fractional_anisotropy(values)
    # FA² = 3/2 - trace² / (2 |D|²).
    slope = (total**2 / size**2)[:, None] * channels - (total / size)[:, None] * trace
    slope = slope / (2 * anisotropy.clamp(min=_SMALLEST_ANISOTROPY))[:, None]

    def sd(direction: Tensor) -> Tensor:
        direction = direction.expand_as(channels)
        variance = torch.einsum("vi,vij,vj->v", direction, covariance, direction)
        return variance.clamp(min=0).sqrt()

    return TensorMaps(
        s0=adapted.reference * torch.exp(adapted.channels[:, 0]),
        tensor=tensor * _TO_MM2_PER_S,
        eigenvalues=values * _TO_MM2_PER_S,
        principal=first,
        mean_diffusivity_sd=sd(trace / 3) * _TO_MM2_PER_S,
        axial_diffusivity_sd=sd(axial) * _TO_MM2_PER_S,
        radial_diffusivity_sd=sd(radial) * _TO_MM2_PER_S,
        anisotropy_sd=sd(slope),
    )
