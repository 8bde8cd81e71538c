"""What to do where guides and measured maps cannot both be true: what only one shows is kept.

Normal tissue is common in a brain, and a source that misses a lesion shows just that. Of the two
readings of a contradiction the one with the rarer tissue is therefore kept; where neither is
rarer, both sources get the same weight. Either way the voxels stay flagged (``disagreement.py``).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from models.superres.consistency import guide_sd
from models.superres.disagreement import FLAGGED, disagreement, local_mean
from models.superres.network import LOWER, SMALLEST, UPPER, bounded, per_map
from models.superres.study import ScaledStudy, unexplained

DECIDED = 1.0
"""Difference of the log density of tissue from which only the rarer reading is kept."""

_VOXELS = 2**20
_BINS = 48
_LEAST_DENSITY = 1e-4


def kept(scaled: ScaledStudy, maps: Tensor) -> tuple[ScaledStudy, Tensor]:
    """The same study with weights of guides and maps where the two contradict each other.

    Args:
        scaled: the study as its guides were scaled for ``maps``.
        maps: (images, 3, *shape) converged maps, which the guides rule.

    Returns:
        the study with the trust in its guides and maps, and maps (images, 3, *shape) to go on
        from: as measured where the measured maps show what the guides do not.
    """
    study, truncation = scaled.study, scaled.truncation
    gate = (2 * (disagreement(scaled, maps) / FLAGGED - 1)).clamp(0, 1)
    if not bool(gate.any()):
        return scaled, maps
    start = bounded(maps + truncation.interpolate(unexplained(study, truncation(maps))))
    density = _density(maps, study.mask * (gate <= 0))
    rarer = torch.zeros_like(gate)
    for part in _parts(maps):
        rarer[part] = _rarity(start[part], density) - _rarity(maps[part], density)
    rarer = local_mean(rarer * gate, study.mask) / local_mean(gate, study.mask).clamp_min(1e-3)
    side = (rarer / DECIDED).clamp(-1, 1)
    del rarer
    trust = torch.ones_like(scaled.trust)
    for part in _parts(maps):
        of_maps, of_guides = side[part].clamp_min(0), (-side[part]).clamp_min(0)
        for index in range(len(study.sequences)):
            equal = _equal_trust(scaled, maps[part], index, part).unsqueeze(1)
            wanted = equal * (1 - of_maps) + (1 - equal) * of_guides
            trust[:, index, part[2]] = (1 - gate[part] * (1 - wanted))[:, 0]
        start[part] = maps[part] + gate[part] * of_maps * (start[part] - maps[part])
    map_trust = 1 - truncation(gate * (-side).clamp_min(0)).clamp(0, 1)
    return replace(scaled, trust=trust, map_trust=map_trust), start.mul_(study.mask)


def _parts(maps: Tensor) -> list[tuple[slice, ...]]:
    """Indices of all images, a few rows or slices at a time: volumes are large."""
    at_once = max(1, _VOXELS // (maps[:, 0].numel() // maps.shape[2]))
    everything = slice(None)
    return [
        (everything, everything, slice(first, first + at_once))
        for first in range(0, maps.shape[2], at_once)
    ]


def _equal_trust(scaled: ScaledStudy, maps: Tensor, index: int, part: tuple[slice, ...]) -> Tensor:
    """Weight (images, *shape) with which a guide says no more about a voxel than the maps do.

    A guide's weight is its information on ln T1 and ln T2 of a voxel, that of the maps the
    information of a low-resolution voxel shared among the voxels in it.

    Args:
        scaled: the study.
        maps: (images, 3, *shape) some of its voxels.
        index: of the guide.
        part: which voxels these are.
    """
    study, sequence = scaled.study, scaled.study.sequences[index]
    if sequence is None:
        return torch.ones_like(maps[:, 0])
    positive = torch.maximum(maps, per_map(SMALLEST, maps))
    signal, derivative = sequence.sensitivities(positive)
    signal = signal * study.mask[part][:, 0]
    sd = guide_sd(scaled, torch.stack([signal] * 2, 1)).clamp_min(1e-6)[:, index]
    noise = study.map_noise.view(*study.map_noise.shape, *[1] * (maps.ndim - 2))
    information = (positive / noise)[:, 1:] ** 2 / math.prod(scaled.truncation.factors)
    of_guide = (derivative[:, 1:] / sd.unsqueeze(1)) ** 2
    shared = (of_guide * information).sum(1) / of_guide.square().sum(1).clamp_min(1e-12)
    return shared.clamp(max=1)


def _density(maps: Tensor, usual: Tensor) -> Tensor:
    """Density (images * bins) of ln T1 and ln T2 over voxels of (images, 3, *shape) that count.

    Args:
        maps: whose voxels are counted.
        usual: (images, 1, *shape) 1 for those that count.
    """
    images, size = len(maps), _BINS**2
    counts = maps.new_zeros(images * size)
    for part in _parts(maps):
        numbers, weights = _bin(maps[part]).flatten(), usual[part].flatten()
        counts += torch.bincount(numbers, weights, minlength=images * size)
    # A tissue is a few bins wide.
    smooth = functional.avg_pool2d(counts.view(images, 1, _BINS, _BINS), 3, stride=1, padding=1)
    return (smooth / smooth.sum((-2, -1), keepdim=True).clamp_min(1)).flatten()


def _rarity(maps: Tensor, density: Tensor) -> Tensor:
    """Minus the log of how common T1 and T2 of each voxel are (images, 1, *shape)."""
    return -(density + _LEAST_DENSITY).log()[_bin(maps)].unsqueeze(1)


def _bin(maps: Tensor) -> Tensor:
    """Number of the bin of ln T1 and ln T2 of voxels (images, *shape), each image with its own."""
    number = torch.arange(len(maps), device=maps.device).view(-1, *[1] * (maps.ndim - 2))
    for quantity in (1, 2):
        lower, upper = math.log(LOWER[quantity]), math.log(UPPER[quantity])
        share = (maps[:, quantity].clamp_min(LOWER[quantity]).log() - lower) / (upper - lower)
        number = number * _BINS + (share * _BINS).long().clamp(0, _BINS - 1)
    return number
