"""A study of one grid: measured maps, guides, their sequences; and the guides in units of PD."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.superres.degradation import KSpaceTruncation, Window, whole
from models.superres.guide_scale import guide_field
from models.superres.network import SMALLEST, bounded, per_map
from models.superres.signal import WeightedSequence


@dataclass(frozen=True)
class Study:
    """What is measured, on matching grids; images are slices, or one volume of three axes.

    Attributes:
        maps: (images, 3, *low_shape) measured PD, T1 in ms, T2 in ms.
        guides: (images, 2, *shape) T1w and T2w in arbitrary units; zeros where missing.
        sequences: the T1w and the T2w sequence; None where that guide is missing.
        mask: (images, 1, *shape) 1 in every voxel with tissue, 0 in air.
        guide_noise: (images, 2) SD of each guide over its mean in the mask.
        map_noise: (images, 3) SD of the measured maps, in their units.
        part: what of the high-resolution grid ``guides`` and ``mask`` hold; None for all of it.
    """

    maps: Tensor
    guides: Tensor
    sequences: tuple[WeightedSequence | None, WeightedSequence | None]
    mask: Tensor
    guide_noise: Tensor
    map_noise: Tensor
    part: Window | None = None

    @property
    def window(self) -> Window:
        """The high-resolution grid and the part of it that guides and mask hold."""
        return self.part or whole(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """High-resolution samples that guides and mask hold."""
        return tuple(self.guides.shape[2:])

    @property
    def truncation(self) -> KSpaceTruncation:
        """Truncation from the grid of the guides to the grid of the maps."""
        return KSpaceTruncation(
            self.window, tuple(self.maps.shape[2:]), self.maps.dtype, self.maps.device
        )


@dataclass(frozen=True)
class ScaledStudy:
    """A study whose guides are in the units of the maps' signal.

    Attributes:
        study: what it was made from.
        truncation: from the grid of the guides to the grid of the maps.
        guides: (images, 2, *shape) in units of PD; zeros where missing and outside the mask.
        fields: (images, 2, *shape) what the guides were divided by; ones where missing.
        noise: (images, 2) SD of the guides in units of PD; 0 where missing.
        interpolated: (images, 3, *shape) the measured maps on the high-resolution grid.
        trust: (images, 2, *shape) weight of each guide, below 1 where it contradicts the maps.
        map_trust: (images, 1, *low_shape) weight of the measured maps, below 1 where the guides
            win against them.
    """

    study: Study
    truncation: KSpaceTruncation
    guides: Tensor
    fields: Tensor
    noise: Tensor
    interpolated: Tensor
    trust: Tensor
    map_trust: Tensor


def unexplained(study: Study, truncated: Tensor) -> Tensor:
    """Measured minus truncated maps (images, 3, *low_shape).

    Truncation rings below zero around fluid, which unsigned images cannot hold: a measured zero
    says only that the value is not above, so that one below leaves nothing unexplained.

    Args:
        study: with its measured maps.
        truncated: (images, 3, *low_shape) of the current maps.
    """
    difference = study.maps - truncated
    return difference.masked_fill((study.maps == 0) & (difference > 0), 0.0)


MARGIN = 2
"""Voxels around the tissue, in the plane of the network, that ``cropped`` leaves: within the
network a little of the tissue reaches beyond the mask and back."""


def cropped(study: Study) -> Study:
    """The same study with guides and mask on a small box around the tissue.

    Nothing changes but memory and time: outside the mask the maps are zero anyway.
    """
    inside = study.mask.amax(dim=(0, 1)) > 0
    start, shape = [], []
    for axis in range(inside.ndim):
        others = tuple(a for a in range(inside.ndim) if a != axis)
        along = inside.any(dim=others) if others else inside
        found = torch.nonzero(along).flatten()
        margin = MARGIN if axis >= inside.ndim - 2 else 0
        first = max(0, int(found[0]) - margin)
        start.append(first)
        shape.append(min(inside.shape[axis], int(found[-1]) + 1 + margin) - first)
    window = Window(study.window.full, tuple(start), tuple(shape))
    box = (slice(None), slice(None), *window.slices)
    return replace(study, guides=study.guides[box], mask=study.mask[box], part=window)


def uncropped(images: Tensor, study: Study) -> Tensor:
    """Images (images, channels, *shape) of a cropped study on the whole grid, zero around it."""
    window = study.window
    result = images.new_zeros((*images.shape[:2], *window.full))
    result[(slice(None), slice(None), *window.slices)] = images
    return result


def signals(sequences: tuple[WeightedSequence | None, ...], maps: Tensor) -> Tensor:
    """Signals (images, guides, ...) of maps (images, 3, ...); zeros for a missing guide."""
    positive = torch.maximum(maps, per_map(SMALLEST, maps))
    empty = torch.zeros_like(maps[:, 0])
    air = maps[:, 0] <= 0
    images = [
        empty if sequence is None else sequence.signal(*positive.unbind(1)).masked_fill(air, 0.0)
        for sequence in sequences
    ]
    return torch.stack(images, dim=1)


def homogeneous_weight(maps: Tensor, mask: Tensor) -> Tensor:
    """Weight (images, *low_shape) that fades where low-resolution voxels mix tissues.

    The signal of mean maps is not the mean signal; where T1 and T2 change from voxel to voxel,
    the two differ, and the guide scale must not be learned there.

    Args:
        maps: (images, 3, *low_shape).
        mask: (images, *low_shape) fraction of tissue in each voxel.
    """
    logarithm = torch.maximum(maps, per_map(SMALLEST, maps))[:, 1:].log()
    change = torch.zeros_like(logarithm[:, 0])
    for axis in range(2, logarithm.ndim):
        if logarithm.shape[axis] > 2:
            ahead, behind = logarithm.roll(-1, axis), logarithm.roll(1, axis)
            change = (
                change + (ahead - logarithm).square().sum(1) + (logarithm - behind).square().sum(1)
            )
    return (mask > 0.98).to(maps.dtype) * (maps[:, 0] > 0.2) / (1 + change / 0.2**2)


def _divided(
    study: Study, low_signals: Tensor, weight: Tensor, order: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Guides over their fields, the fields, and the noise in units of PD."""
    truncation = study.truncation
    axes = tuple(range(1, study.guides.ndim - 1))
    inside = study.mask[:, 0]
    guides, fields, noise = [], [], []
    for index, sequence in enumerate(study.sequences):
        guide = study.guides[:, index] * inside
        if sequence is None:
            guides.append(torch.zeros_like(guide))
            fields.append(torch.ones_like(guide))
            noise.append(torch.zeros_like(study.guide_noise[:, index]))
            continue
        field = guide_field(truncation(guide), low_signals[:, index], weight, study.window, order)
        scaled = guide / field
        mean = (scaled * inside).sum(axes) / inside.sum(axes)
        guides.append(scaled)
        fields.append(field)
        noise.append(study.guide_noise[:, index] * mean)
    return torch.stack(guides, 1), torch.stack(fields, 1), torch.stack(noise, 1)


def scale_guides(study: Study, order: int = 0) -> ScaledStudy:
    """Divides each guide by its scale and bias field, from the low-resolution maps.

    Args:
        study: what is measured.
        order: degree of the bias field's polynomial; 0 is one scale.

    Raises:
        ValueError: if a guide does not show what the maps show.
    """
    truncation = study.truncation
    weight = homogeneous_weight(study.maps, truncation(study.mask[:, 0]))
    guides, fields, noise = _divided(study, signals(study.sequences, study.maps), weight, order)
    return ScaledStudy(
        study,
        truncation,
        guides,
        fields,
        noise,
        truncation.interpolate(study.maps) * study.mask,
        torch.ones_like(guides),
        torch.ones_like(study.maps[:, :1]),
    )


def rescaled(scaled: ScaledStudy, maps: Tensor, order: int = 2) -> ScaledStudy:
    """The same study with each guide's field estimated anew from high-resolution maps.

    Their signal is truncated after it is computed, as the guide is, so that voxels of mixed
    tissue count too and no longer bias the scale.

    Args:
        scaled: what was scaled before.
        maps: (images, 3, *shape) current PD, T1 in ms, T2 in ms.
        order: degree of the bias field's polynomial.
    """
    study, truncation = scaled.study, scaled.truncation
    weight = (truncation(study.mask[:, 0]) > 0.95).to(maps.dtype)
    # A wrong scale has moved the maps so far as they may move; what was measured has not moved.
    correction = truncation.interpolate(unexplained(study, truncation(maps)))
    maps = bounded(maps + correction) * study.mask
    guides, fields, noise = _divided(
        study, truncation(signals(study.sequences, maps)), weight, order
    )
    return replace(scaled, guides=guides, fields=fields, noise=noise)
