"""Synthetic microstructure on real brain anatomy: the maps that the prior learns from.

Tissue fractions come from the ICBM 152 template (carried by the nilearn package) and from a
labelled brain, turned, stretched and bent; everything else is random: where tracts lie and
cross, how dense and dispersed neurites are, how bright tissue is. Tracts are regions with sharp
borders, within which directions turn smoothly. Nothing here claims to be anatomy: the prior is
to learn that maps are piecewise smooth, with the joint statistics of diffusion in brain tissue.

Slabs are made in batches, on the CPU or a GPU: arrays are (slabs, slices, rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.diffusion.noddi import noddi_signal
from models.diffusion.random_draws import RandomDraws, small_rotations

#: Slices, rows and columns of one slab.
SLAB = (3, 96, 96)
_REGIONS = 5
# Radians by which heads are tilted, and the share of slabs that lie anyhow.
_TILT = 0.25
_ANYHOW = 0.3


@dataclass(frozen=True)
class Microstructure:
    """What slabs are made of.

    Attributes:
        brain: bool (slabs, slices, rows, columns).
        voxel: (slabs, 3) mm along slices, rows and columns.
        white: fraction of white matter.
        grey: fraction of grey matter; the rest of the brain is free water.
        s0: signal at b = 0, (3, ...) of white and grey matter and free water.
        ndi: (3, ...) neurite density of the first and second tract, and of grey matter.
        odi: (3, ...) their orientation dispersion.
        fwf: free water fraction within white matter.
        orientation: (3, ..., 3) mean orientations; x along columns, y along rows, z along slices.
        crossing: share of the second tract in white matter.
        parallel_diffusivity: (slabs,) mm²/s.
    """

    brain: Tensor
    voxel: Tensor
    white: Tensor
    grey: Tensor
    s0: Tensor
    ndi: Tensor
    odi: Tensor
    fwf: Tensor
    orientation: Tensor
    crossing: Tensor
    parallel_diffusivity: Tensor


class SmoothFields:
    """Gaussian random fields of unit variance on the grids of a batch of slabs.

    Args:
        draws: source of random numbers.
        voxel: (slabs, 3) mm along slices, rows, columns.
    """

    def __init__(self, draws: RandomDraws, voxel: Tensor) -> None:
        self._draws = draws
        self._voxel = voxel
        rows = torch.fft.fftfreq(SLAB[1], device=voxel.device)[:, None]
        columns = torch.fft.rfftfreq(SLAB[2], device=voxel.device)[None]
        self._square = rows**2 + columns**2

    def __call__(self, low: float, high: float, *leading: int) -> Tensor:
        """Fields of correlation lengths drawn between two bounds, mm.

        Returns:
            (*leading, slabs, slices, rows, columns).
        """
        slabs = len(self._voxel)
        length = self._draws.uniform(low, high, *leading, slabs)
        noise = self._draws.normal(*leading, slabs, *SLAB)
        sigma = (length / self._voxel[:, 1])[..., None, None, None]
        response = torch.exp(-2 * (torch.pi * sigma) ** 2 * self._square)
        field = torch.fft.irfft2(torch.fft.rfft2(noise) * response, s=SLAB[1:])
        field = field / field.std(dim=(-3, -2, -1), keepdim=True).clamp(min=1e-6)
        # Slabs are thin, so along slices the field is blended instead of filtered.
        turn = (self._voxel[:, 0] / length).clamp(max=1.0)[..., None, None]
        keep = torch.sqrt(1 - turn**2)
        slices = [field[..., 0, :, :]]
        for number in range(1, SLAB[0]):
            slices.append(keep * slices[-1] + turn * field[..., number, :, :])
        field = torch.stack(slices, dim=-3)
        field = field - field.mean(dim=(-3, -2, -1), keepdim=True)
        return field / field.std(dim=(-3, -2, -1), keepdim=True).clamp(min=1e-6)


def random_microstructure(
    anatomies: list[Tensor], slabs: int, draws: RandomDraws
) -> Microstructure:
    """Random slabs.

    Args:
        anatomies: (3, x, y, z) fractions of grey matter, white matter and brain of each head on
            a 1 mm grid.
        slabs: how many.
        draws: source of random numbers, on the device of the anatomies.
    """
    voxel = draws.log_uniform(1.4, 3.6, slabs)
    voxel = torch.stack((voxel * draws.uniform(0.8, 2.0, slabs), voxel, voxel), dim=1)
    field = SmoothFields(draws, voxel)
    grey, white, brain = _tissue(anatomies, voxel, field, draws)
    regions = torch.stack(
        (
            field(4, 16, _REGIONS).argmax(dim=0),
            field(4, 16, _REGIONS).argmax(dim=0),
            field(8, 25, _REGIONS).argmax(dim=0),
        )
    )

    def each(low: float, high: float) -> Tensor:
        return draws.uniform(low, high, slabs)[:, None, None, None]

    def by_region(index: int) -> Tensor:
        values = draws.normal(slabs, _REGIONS)
        return values.gather(1, regions[index].flatten(1)).view(slabs, *SLAB)

    white_density = each(0.45, 0.72)
    ndi = torch.stack(
        (
            white_density + 0.06 * by_region(0) + 0.04 * field(5, 20),
            white_density + 0.06 * by_region(1) + 0.04 * field(5, 20),
            each(0.28, 0.5) + 0.04 * by_region(2) + 0.04 * field(5, 20),
        )
    ).clamp(0.05, 0.95)
    white_dispersion = each(0.05, 0.18).log()
    odi = torch.stack(
        (
            torch.exp(white_dispersion + 0.4 * by_region(0) + 0.25 * field(4, 15)),
            torch.exp(white_dispersion + 0.4 * by_region(1) + 0.25 * field(4, 15)),
            each(0.35, 0.75) + 0.06 * by_region(2) + 0.05 * field(4, 15),
        )
    ).clamp(0.015, 0.95)
    bias = torch.exp(each(0, 0.3) * field(30, 60))
    texture = torch.exp(0.06 * by_region(0) + 0.05 * by_region(2) + 0.04 * field(3, 10))
    water_level = draws.log_uniform(1.2, 4.0, slabs)[:, None, None, None]
    return Microstructure(
        brain=brain,
        voxel=voxel,
        white=white,
        grey=grey,
        s0=torch.stack((bias * texture, bias * texture * each(1.0, 1.5), bias * water_level)),
        ndi=ndi,
        odi=odi,
        fwf=(0.03 * field(6, 20) + 0.02 * by_region(0)).clamp(0, 0.3),
        orientation=_orientations(regions, field, draws),
        crossing=(0.25 * field(6, 20) + 0.15 * by_region(1)).clamp(0, 0.5),
        parallel_diffusivity=1e-3 * draws.uniform(1.5, 2.0, slabs),
    )


def microstructure_signal(
    slabs: Microstructure, number: int, b_values: Tensor, directions: Tensor
) -> Tensor:
    """Noise-free signals of one slab of a batch.

    Args:
        slabs: what they are made of.
        number: which.
        b_values: (volumes,) s/mm², float32.
        directions: (volumes, 3) unit vectors in the frame of the array.

    Returns:
        float32 (slices, rows, columns, volumes); zero outside the brain.
    """
    inside = slabs.brain[number]
    white, grey, crossing, fwf = (
        image[number][inside] for image in (slabs.white, slabs.grey, slabs.crossing, slabs.fwf)
    )
    s0 = slabs.s0[:, number, inside]
    tissue = noddi_signal(
        torch.stack((white * (1 - crossing) * s0[0], white * crossing * s0[0], grey * s0[1])),
        slabs.ndi[:, number, inside],
        slabs.odi[:, number, inside],
        torch.stack((fwf, fwf, torch.zeros_like(fwf))),
        slabs.orientation[:, number, inside],
        b_values,
        directions,
        float(slabs.parallel_diffusivity[number]),
    ).sum(dim=0)
    free = (1 - white - grey) * s0[2]
    signal = tissue.new_zeros((*SLAB, len(b_values)))
    signal[inside] = tissue + free[:, None] * torch.exp(-3e-3 * b_values)
    return signal


def sample_grid(image: Tensor, points: Tensor) -> Tensor:
    """Linear interpolation of an image, zero outside.

    Args:
        image: (channels, i, j, k).
        points: (..., 3) indices i, j, k.

    Returns:
        (channels, ...).
    """
    size = torch.tensor(image.shape[1:], dtype=torch.float32, device=image.device)
    grid = (2 * points / (size - 1) - 1).flip(-1).reshape(1, 1, 1, -1, 3)
    found = functional.grid_sample(image[None], grid, align_corners=True)
    return found.reshape(len(image), *points.shape[:-1])


def slab_indices(device: torch.device) -> Tensor:
    """Indices (slices, rows, columns, 3) relative to the middle of a slab."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in SLAB]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _tissue(
    anatomies: list[Tensor], voxel: Tensor, field: SmoothFields, draws: RandomDraws
) -> tuple[Tensor, Tensor, Tensor]:
    """Fractions of grey and white matter and the brain on randomly placed, bent grids."""
    slabs = len(voxel)
    turn = small_rotations(draws, slabs, _TILT)
    anyhow = draws.chance(_ANYHOW, slabs)[:, None, None]
    turn = torch.where(anyhow, draws.rotations(slabs), turn)
    stretch = draws.uniform(0.85, 1.15, slabs, 3)
    which = draws.integers(0, len(anatomies), slabs)
    place = draws.uniform(-0.3, 0.3, slabs, 3)
    bend = (draws.uniform(0, 4, slabs)[:, None, None, None] * field(10, 30, 3)).movedim(0, -1)
    shifts = [(p % 2 / 2 - 0.25, p // 2 / 2 - 0.25, (p + 1) % 2 / 2 - 0.25) for p in range(4)]
    found = torch.zeros((3, slabs, *SLAB), device=voxel.device)
    for number, anatomy in enumerate(anatomies):
        chosen = torch.nonzero(which == number)[:, 0]
        if not len(chosen):
            continue
        filled = torch.nonzero(anatomy[2, ::4, ::4, ::4] > 0.5).float() * 4
        middle, extent = filled.mean(dim=0), filled.amax(dim=0) - filled.amin(dim=0)
        # Rows of ``turn`` are the slab's x, y, z in the head; indices are (z, y, x).
        axes = turn[chosen].flip(1)
        step = voxel[chosen] * stretch[chosen]
        for shift in shifts:  # four points a voxel for partial volume
            index = slab_indices(voxel.device) + torch.tensor(shift, device=voxel.device)
            offset = torch.einsum("zyxi,ni,nij->nzyxj", index, step, axes)
            centre = (middle + place[chosen] * extent)[:, None, None, None]
            found[:, chosen] += sample_grid(anatomy, centre + offset + bend[chosen]) / len(shifts)
    grey, white, brain = found
    total = (grey + white).clamp(min=1.0)
    return grey / total, white / total, brain > 0.5


def _orientations(regions: Tensor, field: SmoothFields, draws: RandomDraws) -> Tensor:
    """Unit vectors that turn smoothly within a region and jump between regions."""
    kinds, slabs = regions.shape[:2]
    amount = draws.uniform(0.2, 0.8, kinds, slabs)[:, :, None, None, None, None]
    turning = amount * field(10, 30, 3, kinds).movedim(0, -1)
    mean = functional.normalize(draws.normal(kinds, slabs, _REGIONS, 3), dim=-1)
    index = regions.flatten(2)[..., None].expand(-1, -1, -1, 3)
    return functional.normalize(mean.gather(2, index).view(*turning.shape) + turning, dim=-1)
