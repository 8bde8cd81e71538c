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
from models.superres.study import ScaledStudy, signals

DECIDED = 1.0
"""Difference of the log density of tissue from which only the rarer reading is kept."""

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
    as_measured = bounded(maps + truncation.interpolate(study.maps - truncation(maps)))
    usual = study.mask * (gate <= 0)
    rarer = _rarity(as_measured, maps, usual) - _rarity(maps, maps, usual)
    rarer = local_mean(rarer * gate, study.mask) / local_mean(gate, study.mask).clamp_min(1e-3)
    side = (rarer / DECIDED).clamp(-1, 1)
    of_maps, of_guides = side.clamp_min(0), (-side).clamp_min(0)
    trust = []
    for index in range(len(study.sequences)):
        equal = _equal_trust(scaled, maps, index).unsqueeze(1)
        wanted = equal * (1 - of_maps) + (1 - equal) * of_guides
        trust.append((1 - gate * (1 - wanted))[:, 0])
    start = maps + gate * of_maps * (as_measured - maps) * study.mask
    map_trust = 1 - truncation(gate * of_guides).clamp(0, 1)
    return replace(scaled, trust=torch.stack(trust, 1), map_trust=map_trust), start


def _equal_trust(scaled: ScaledStudy, maps: Tensor, index: int) -> Tensor:
    """Weight (images, *shape) with which a guide says no more about a voxel than the maps do.

    A guide's weight is its information on ln T1 and ln T2 of a voxel, that of the maps the
    information of a low-resolution voxel shared among the voxels in it.
    """
    study, sequence = scaled.study, scaled.study.sequences[index]
    if sequence is None:
        return torch.ones_like(maps[:, 0])
    positive = torch.maximum(maps, per_map(SMALLEST, maps))
    sd = guide_sd(scaled, signals(study.sequences, maps)).clamp_min(1e-6)[:, index]
    noise = study.map_noise.view(*study.map_noise.shape, *[1] * (maps.ndim - 2))
    information = (positive / noise)[:, 1:] ** 2 / math.prod(scaled.truncation.factors)
    of_guide = (sequence.sensitivities(positive)[1][:, 1:] / sd.unsqueeze(1)) ** 2
    shared = (of_guide * information).sum(1) / of_guide.square().sum(1).clamp_min(1e-12)
    return shared.clamp(max=1)


def _rarity(maps: Tensor, brain: Tensor, usual: Tensor) -> Tensor:
    """Minus the log of how common T1 and T2 of each voxel are in a brain (images, 1, *shape).

    Args:
        maps: (images, 3, *shape) whose voxels are judged.
        brain: same shape; maps whose voxels are counted.
        usual: (images, 1, *shape) 1 for those that count.
    """
    images, size = len(maps), _BINS**2
    offset = torch.arange(images, device=maps.device).view(-1, *[1] * (maps.ndim - 2)) * size
    counts = torch.bincount(
        (_bin(brain) + offset).flatten(), usual.flatten(), minlength=images * size
    ).view(images, 1, _BINS, _BINS)
    # A tissue is a few bins wide.
    smooth = functional.avg_pool2d(counts, 3, stride=1, padding=1)
    density = smooth / smooth.sum((-2, -1), keepdim=True).clamp_min(1)
    return -(density.flatten() + _LEAST_DENSITY).log()[_bin(maps) + offset].unsqueeze(1)


def _bin(maps: Tensor) -> Tensor:
    """Number of the bin of ln T1 and ln T2, (images, *shape)."""
    number = torch.zeros_like(maps[:, 0], dtype=torch.long)
    for quantity in (1, 2):
        lower, upper = math.log(LOWER[quantity]), math.log(UPPER[quantity])
        share = (maps[:, quantity].clamp_min(LOWER[quantity]).log() - lower) / (upper - lower)
        number = number * _BINS + (share * _BINS).long().clamp(0, _BINS - 1)
    return number
