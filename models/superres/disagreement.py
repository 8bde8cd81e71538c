"""Where guides and measured maps cannot both be true, and how far the result is from each.

The residuals are in SD of what noise and model explain; a patch of large ones is not noise. What
is done there is in ``contradiction.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.superres.consistency import guide_sd
from models.superres.study import ScaledStudy, signals, unexplained

FLAGGED = 3.0
"""Local root mean square residual, in SD, from which guides and maps disagree."""

MAP_MODEL_ERROR = 0.02
"""SD of the measured maps beyond noise, over their value: a scan averages signals, not maps."""

GUIDE_MODEL_ERROR = 0.03
"""SD of the guides beyond noise and the error in ``consistency.py``, over their signal."""

_WINDOW = 5


class Residuals(NamedTuple):
    """What the maps leave unexplained, in SD.

    Attributes:
        guides: (images, 2, *shape) acquired minus synthesised; zeros where missing.
        maps: (images, 3, *low_shape) measured minus truncated.
    """

    guides: Tensor
    maps: Tensor


def residuals(scaled: ScaledStudy, maps: Tensor) -> Residuals:
    """Residuals of maps (images, 3, *shape) in SD of noise and model."""
    study = scaled.study
    synthetic = signals(study.sequences, maps)
    sd = (guide_sd(scaled, synthetic) ** 2 + (GUIDE_MODEL_ERROR * synthetic) ** 2).sqrt()
    guides = (scaled.guides - synthetic) / sd.clamp_min(1e-6) * study.mask
    noise = study.map_noise.view(*study.map_noise.shape, *[1] * (maps.ndim - 2))
    sd = (noise**2 + (MAP_MODEL_ERROR * study.maps) ** 2).sqrt()
    inside = (scaled.truncation(study.mask) > 0.5).to(maps.dtype)
    return Residuals(guides, unexplained(study, scaled.truncation(maps)) / sd * inside)


def local_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean (images, channels, ...) over the part of a small window around each voxel in a mask."""
    pool = functional.avg_pool3d if values.ndim == 5 else functional.avg_pool2d
    window = [_WINDOW if n >= _WINDOW else 1 for n in values.shape[2:]]
    padding = [w // 2 for w in window]
    inside = pool(mask.expand(len(values), 1, *values.shape[2:]), window, 1, padding)
    return pool(values * mask, window, 1, padding) / inside.clamp_min(1e-3) * mask


def _local_rms(values: Tensor, mask: Tensor) -> Tensor:
    return local_mean(values**2, mask).sqrt()


def disagreement(scaled: ScaledStudy, maps: Tensor) -> Tensor:
    """Local disagreement (images, 1, *shape), in SD: the largest over guides and measured maps.

    Above ``FLAGGED`` the sources disagree, or a signal equation does not hold.

    Args:
        scaled: the study as its guides were scaled for ``maps``.
        maps: (images, 3, *shape) the result.
    """
    left = residuals(scaled, maps)
    mask = scaled.study.mask
    of_guides = _local_rms(left.guides, mask).amax(1, keepdim=True)
    inside = (scaled.truncation(mask) > 0.5).to(maps.dtype)
    of_maps = _local_rms(left.maps, inside).amax(1, keepdim=True)
    nearest = functional.interpolate(of_maps, size=scaled.study.shape, mode="nearest")
    return torch.maximum(of_guides, nearest) * mask
