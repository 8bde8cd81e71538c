"""The two losses of training and refinement; neither sees a high-resolution map."""

from __future__ import annotations

import torch
from torch import Tensor

from models.superres.degradation import KSpaceTruncation
from models.superres.network import per_map

LOWEST_LEVEL = (0.3, 500.0, 50.0)
"""PD, T1 in ms, T2 in ms below which a relative difference of maps counts as one of this level."""


def guide_synthesis(synthetic: Tensor, guides: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """Mismatch of synthesised and acquired guides, in SD of noise and model, summed over guides.

    Quadratic for small and linear for large differences, so that edges that a misregistered guide
    has elsewhere do not rule.

    Args:
        synthetic: (images, 2, ...) signals of the predicted maps, in units of PD.
        guides: (images, 2, ...) acquired, in units of PD; zeros where missing.
        noise: (images, 2) SD of the guides in units of PD; 0 where missing.
        mask: (images, 1, ...) voxels that count.

    Returns:
        scalar, 0 for equal images.
    """
    wide = (*noise.shape, *[1] * (guides.ndim - 2))
    present = (noise > 0).to(guides.dtype).view(wide) * mask
    axes = tuple(range(2, guides.ndim))
    count = present.sum(axes).clamp_min(1)
    mean = ((guides * present).sum(axes) / count).view(wide)
    sd = 0.5 * noise.view(wide) + 0.01 * mean + 1e-6
    difference = (synthetic - guides) / sd * present
    loss = ((1 + difference.square()).sqrt() - 1).sum(axes) / count
    return loss.sum() / len(noise)


def low_resolution_consistency(
    maps: Tensor, measured: Tensor, truncation: KSpaceTruncation, mask: Tensor, noise: Tensor
) -> Tensor:
    """Mismatch of truncated prediction and measured maps over their level, summed over maps.

    Args:
        maps: (images, 3, *shape) predicted PD, T1 in ms, T2 in ms.
        measured: (images, 3, *low_shape).
        truncation: from ``shape`` to ``low_shape``.
        mask: (images, 1, *shape) tissue.
        noise: (images, 3) SD of the measured maps, in their units.

    Returns:
        scalar, 0 where all agree.
    """
    inside = (truncation(mask) > 0.5).to(maps.dtype)
    level = torch.maximum(measured, per_map(LOWEST_LEVEL, maps))
    wide = (*noise.shape, *[1] * (maps.ndim - 2))
    sd = 0.5 * noise.view(wide) + 0.01 * level
    difference = (truncation(maps) - measured) / sd * inside
    return ((1 + difference.square()).sqrt() - 1).sum() / inside.sum().clamp_min(1)
