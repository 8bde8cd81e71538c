"""Clean maps to train on: slabs of synthetic and of real brains, made on any device.

Synthetic slabs are fitted without noise, at random b, so that each map is exactly what a fit
estimates, with the partial volume and the dependence on b that this implies. Slabs of real maps
are turned and zoomed, tensors with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.diffusion.channels import DTI
from models.diffusion.phantom import (
    SLAB,
    microstructure_signal,
    random_microstructure,
    sample_grid,
    slab_indices,
)
from models.diffusion.random_draws import RandomDraws, small_rotations
from models.diffusion.signal_design import log_design

_DIRECTIONS = 20
# Slabs made at a time, and the least share of the middle slice that brain must fill.
_BATCH = 32
_SMALLEST_BRAIN = 0.12
_SMALLEST_SIGNAL = 1e-5
_LARGEST = (-6.0, 8.0)


@dataclass
class Slabs:
    """Clean maps to train on.

    Attributes:
        maps: float16 (slabs, channels, slices, rows, columns) of the DTI stack.
        brain: bool (slabs, slices, rows, columns).
    """

    maps: Tensor
    brain: Tensor


def make_slabs(
    anatomies: list[Tensor],
    real: list[Tensor],
    voxels: list[Tensor],
    counts: tuple[int, int],
    draws: RandomDraws,
) -> Iterator[Slabs]:
    """Batches of synthetic slabs, then of real ones; all tensors on the device of ``draws``.

    Args:
        anatomies: fractions of tissue, 0 to 1; see ``training_maps.Inputs``.
        real: float32 maps and brain of real series.
        voxels: size of their voxels.
        counts: how many synthetic and how many real slabs.
        draws: source of random numbers.
    """
    for kind, wanted in enumerate(counts):
        made = 0
        while made < wanted:
            count = min(_BATCH, wanted - made + 4)
            batch = (
                synthetic_slabs(anatomies, count, draws)
                if kind == 0
                else real_slabs(real, voxels, count, draws)
            )
            enough = batch.brain[:, SLAB[0] // 2].float().mean(dim=(1, 2)) > _SMALLEST_BRAIN
            keep = torch.nonzero(enough)[: wanted - made, 0]
            made += len(keep)
            yield Slabs(batch.maps[keep], batch.brain[keep])


def synthetic_slabs(anatomies: list[Tensor], count: int, draws: RandomDraws) -> Slabs:
    """Noise-free fits of random slabs."""
    slabs = random_microstructure(anatomies, count, draws)
    high = draws.chance(0.2, count)
    reach = torch.where(high, draws.uniform(1500, 2600, count), draws.uniform(700, 1500, count))
    maps = torch.zeros((count, len(DTI), *SLAB), device=draws.device)
    for number in range(count):
        directions = functional.normalize(draws.normal(_DIRECTIONS, 3), dim=1)
        directions = torch.cat((torch.zeros_like(directions[:1]), directions))
        b = reach[number].expand(_DIRECTIONS + 1).clone()
        b[0] = 0
        signal = microstructure_signal(slabs, number, b, directions)
        brain = slabs.brain[number]
        reference = signal[brain][:, 0].median() if brain.any() else torch.tensor(1.0)
        design = log_design(b.cpu().numpy(), directions.cpu().numpy())
        inverse = torch.linalg.pinv(torch.as_tensor(design)).float().to(draws.device)
        logarithm = (signal / reference).clamp(min=_SMALLEST_SIGNAL).log()
        solution = (logarithm @ inverse.T).clamp(*_LARGEST) * brain[..., None]
        maps[number] = solution.movedim(-1, 0)
    return Slabs(maps.half(), slabs.brain)


def real_slabs(real: list[Tensor], voxels: list[Tensor], count: int, draws: RandomDraws) -> Slabs:
    """Turned and zoomed slabs of real maps.

    Args:
        real: (8, slices, rows, columns) DTI channels and brain of each series.
        voxels: (3,) mm along slices, rows, columns.
        count: how many.
        draws: source of random numbers.
    """
    turn = small_rotations(draws, count, 0.17)
    anyhow = draws.chance(0.3, count)[:, None, None]
    turn = torch.where(anyhow, draws.rotations(count), turn)
    zoom = draws.log_uniform(0.55, 1.1, count)
    thickness = draws.uniform(0.8, 1.5, count)
    which = draws.integers(0, len(real), count).tolist()
    slabs = []
    for number, source in enumerate(which):
        maps, voxel = real[source], voxels[source]
        inside = torch.nonzero(maps[-1] > 0.5)
        middle = inside[int(draws.integers(0, len(inside), 1))].float() * voxel
        step = voxel[1] * zoom[number] * torch.ones(3, device=draws.device)
        step[0] *= thickness[number]
        # Rows of ``turn`` are the slab's x, y, z in the old frame; indices are (z, y, x).
        axes = turn[number].flip(0, 1)
        points = (middle + (slab_indices(draws.device) * step) @ axes) / voxel
        found = sample_grid(maps, points)
        weight = torch.where(found[-1] > 0, found[-1], 1.0)
        channels = found[:-1] / weight
        tensor = rotate_tensor_channels(channels[1:], turn[number])
        brain = found[-1] > 0.6
        slabs.append(torch.cat((channels[:1], tensor, brain[None].float())) * brain)
    stacked = torch.stack(slabs)
    return Slabs(stacked[:, :-1].half(), stacked[:, -1] > 0.5)


def rotate_tensor_channels(maps: Tensor, rotation: Tensor) -> Tensor:
    """Turn six tensor channels in Mandel's notation, first axis: D -> R D R'."""
    root = 0.5**0.5
    xx, yy, zz = maps[:3]
    xy, xz, yz = maps[3:] * root
    matrix = torch.stack((xx, xy, xz, xy, yy, yz, xz, yz, zz)).view(3, 3, *maps.shape[1:])
    t = torch.einsum("ia,ab...,jb->ij...", rotation, matrix, rotation)
    off = (t[0, 1] / root, t[0, 2] / root, t[1, 2] / root)
    return torch.stack((t[0, 0], t[1, 1], t[2, 2], *off))
