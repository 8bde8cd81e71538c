"""Errors that a whole tissue shares: a few numbers a study, from all of its voxels at once.

Conjugate gradients and the network work from voxel to voxel and stop early, which keeps noise
out and leaves what is small, smooth and shared: PD, T1 and T2 of a thin tissue that err together so
that the guides hardly change. Solving the same objective in the space of tissues (Galerkin's
coarse correction, as in multigrid) finds it: the measured maps decide, since a tissue has
thousands of voxels in them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.superres.consistency import guide_sd
from models.superres.disagreement import MAP_MODEL_ERROR
from models.superres.network import SMALLEST, bounded, per_map
from models.superres.study import ScaledStudy, unexplained

NODES = (800.0, 1500.0, 2500.0, 4200.0)
"""T1 in ms of white matter, grey matter, their mixtures with fluid, and fluid."""

PRIOR_SD = 0.05
"""SD of the error of ln PD, ln T1 and ln T2 that a tissue shares."""

SCALE_SD = 0.02
"""SD of what is left of the error of a guide's scale: it must not pass for one of the tissue."""

LARGEST = 0.1
"""Most that ln PD, ln T1 or ln T2 of a tissue changes."""

_ROBUST = 3.0
_SLAB = 16


@torch.no_grad()
def tissue_corrected(scaled: ScaledStudy, maps: Tensor) -> Tensor:
    """Maps whose tissues explain guides and measured maps better.

    Args:
        scaled: the study with its guides in units of PD.
        maps: (images, 3, *shape) PD, T1 in ms, T2 in ms.

    Returns:
        (images, 3, *shape), within the bounds, zero outside the mask.
    """
    positive = torch.maximum(maps, per_map(SMALLEST, maps))
    tissues, unknowns = len(NODES), 3 * len(NODES)
    matrix = torch.zeros(len(maps), unknowns + 2, unknowns + 2, dtype=torch.float64)
    prior = [PRIOR_SD] * unknowns + [SCALE_SD] * 2
    matrix = (matrix + torch.diag(1 / torch.tensor(prior, dtype=torch.float64) ** 2)).to(
        maps.device
    )
    right = matrix.new_zeros(len(maps), unknowns + 2)
    rows, residual = _of_measured_maps(scaled, maps, positive)
    _add(matrix[:, :unknowns, :unknowns], right[:, :unknowns], rows, residual)
    for index in range(2):
        for first in range(0, maps.shape[2], _SLAB):
            part = slice(first, first + _SLAB)
            if scaled.study.sequences[index] is not None:
                _add(matrix, right, *_of_guide(scaled, positive, index, part))
    change = torch.linalg.solve(matrix, right)[:, :unknowns].clamp(-LARGEST, LARGEST)
    shared = change.view(-1, 3, tissues).to(maps.dtype)
    logarithm = torch.zeros_like(maps)
    for tissue in range(tissues):
        share = _share(positive[:, 1], tissue).unsqueeze(1)
        logarithm += shared[:, :, tissue].view(-1, 3, *[1] * (maps.ndim - 2)) * share
    return bounded(positive * logarithm.exp()) * scaled.study.mask


def _share(t1: Tensor, tissue: int) -> Tensor:
    """By how much voxels belong to a node: linear in ln T1 between nodes, 1 in all."""
    nodes = [math.log(node) for node in NODES]
    logarithm = t1.log().clamp(nodes[0], nodes[-1])
    share = torch.ones_like(logarithm)
    if tissue > 0:
        width = nodes[tissue] - nodes[tissue - 1]
        share = torch.minimum(share, (logarithm - nodes[tissue - 1]) / width)
    if tissue < len(nodes) - 1:
        width = nodes[tissue + 1] - nodes[tissue]
        share = torch.minimum(share, (nodes[tissue + 1] - logarithm) / width)
    return share.clamp_min(0)


def _of_measured_maps(scaled: ScaledStudy, maps: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives (images, unknowns, samples) and residual (images, samples), in SD."""
    study, truncation = scaled.study, scaled.truncation
    noise = study.map_noise.view(*study.map_noise.shape, *[1] * (maps.ndim - 2))
    inside = (truncation(study.mask) > 0.5).to(maps.dtype) * scaled.map_trust
    weight = inside / (noise**2 + (MAP_MODEL_ERROR * study.maps) ** 2).sqrt()
    rows = maps.new_zeros(len(maps), 3, len(NODES), *study.maps.shape[1:])
    for tissue in range(len(NODES)):
        seen = truncation(maps * _share(positive[:, 1], tissue).unsqueeze(1)) * weight
        for quantity in range(3):
            rows[:, quantity, tissue, quantity] = seen[:, quantity]
    residual = unexplained(study, truncation(maps)) * weight
    return rows.flatten(1, 2).flatten(2), residual.flatten(1)


def _of_guide(
    scaled: ScaledStudy, positive: Tensor, index: int, part: slice
) -> tuple[Tensor, Tensor]:
    """The same of a guide in part of the first axis, its scale among the unknowns."""
    sequence = scaled.study.sequences[index]
    assert sequence is not None
    signal, derivative = sequence.sensitivities(positive[:, :, part])
    sd = guide_sd(scaled, signal.unsqueeze(1).expand(-1, 2, *signal.shape[1:]))[:, index]
    weight = scaled.study.mask[:, 0, part] * scaled.trust[:, index, part].sqrt() / sd
    shares = torch.stack([_share(positive[:, 1, part], k) for k in range(len(NODES))], 1)
    rows = derivative.unsqueeze(2) * (shares * weight.unsqueeze(1)).unsqueeze(1)
    scales = torch.zeros_like(derivative[:, :2])
    scales[:, index] = signal * weight
    residual = (scaled.guides[:, index, part] - signal) * weight
    return torch.cat([rows.flatten(1, 2), scales], 1).flatten(2), residual.flatten(1)


def _add(matrix: Tensor, right: Tensor, rows: Tensor, residual: Tensor) -> None:
    """Adds to normal equations what samples say; those far off hardly count."""
    weight = (1 / (1 + (residual / _ROBUST) ** 2)).unsqueeze(1)
    matrix += ((rows * weight) @ rows.transpose(1, 2)).double()
    right += ((rows * weight) @ residual.unsqueeze(2)).squeeze(2).double()
