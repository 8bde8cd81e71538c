"""The grid of the result: the field of view of the measured maps, the resolution of the guides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np

from operators.inference.wording import lengths
from operators.vocabulary.finding import Finding
from operators.vocabulary.refusal import Refusal

SMALLEST_FACTOR, LARGEST_FACTOR = 1.5, 4.0
"""Voxel of the maps over voxel of the result, along an axis: what training covered."""
COARSER = 0.9
"""A guide is coarser than the maps along an axis where the same ratio is below this."""
TRAINED_VOXELS = (0.5, 2.5)
"""In-plane voxel of the result, mm, for which the anatomy of training is about to scale."""


@dataclass(frozen=True)
class TargetGrid:
    """A grid that is finer than that of the maps, and how the network is to see it.

    Attributes:
        geometry: of the result: axes, centre and field of view of the maps.
        slice_axis: axis across which the network sees slices.
        findings: what was limited.
    """

    geometry: hd.VolumeGeometry
    slice_axis: int
    findings: tuple[Finding, ...]


def resolution_along(axes: hd.VolumeGeometry, guide: hd.VolumeGeometry) -> np.ndarray:
    """Voxel size of a guide along each axis of another grid, mm: (3,)."""
    directions = axes.direction.T @ guide.direction
    return np.sqrt((directions**2) @ np.square(guide.spacing))


def is_coarser(maps: hd.VolumeGeometry, guide: hd.VolumeGeometry) -> bool:
    """Whether a guide is coarser than the maps along any of their axes, or nowhere finer."""
    factors = np.array(maps.spacing) / resolution_along(maps, guide)
    return bool(factors.min() < COARSER or factors.max() < SMALLEST_FACTOR)


def target_grid(maps: hd.VolumeGeometry, guides: Sequence[hd.VolumeGeometry]) -> TargetGrid:
    """The finest grid that every guide supports and that training covered.

    Args:
        maps: grid of the measured maps.
        guides: grids of the guides, none coarser than the maps.

    Raises:
        Refusal: the guides are finer along one axis alone, or not by enough.
    """
    spacing = np.array(maps.spacing)
    wanted = spacing / np.max([resolution_along(maps, one) for one in guides], axis=0)
    factors = np.clip(wanted, None, LARGEST_FACTOR)
    factors[wanted < SMALLEST_FACTOR] = 1.0
    if np.count_nonzero(factors > 1) < 2:
        raise Refusal(
            "factor-outside-training",
            f"the guides' voxels are {lengths(spacing / wanted)} along the axes of the maps, whose "
            f"voxels are {lengths(spacing)}: fewer than two axes are {SMALLEST_FACTOR:g} times "
            "finer",
            f"Send guides at least {SMALLEST_FACTOR:g} times finer than the maps in plane.",
        )
    shape = np.rint(np.array(maps.spatial_shape) * factors).astype(int)
    shape = np.where(factors > 1, shape, maps.spatial_shape)
    fine = spacing * np.array(maps.spatial_shape) / shape
    # Sample n // 2 of both grids is at one place, as with a centred Fourier transform.
    step = maps.direction * fine
    centre = np.array(maps.affine) @ [*(n // 2 for n in maps.spatial_shape), 1]
    affine = np.eye(4)
    affine[:3, :3] = step
    affine[:3, 3] = centre[:3] - step @ (shape // 2)
    geometry = hd.VolumeGeometry(
        affine,
        tuple(int(n) for n in shape),
        "PATIENT",
        frame_of_reference_uid=maps.frame_of_reference_uid,
    )
    axis = _slice_axis(maps, factors)
    return TargetGrid(geometry, axis, tuple(_findings(spacing / wanted, factors, fine, axis)))


def _slice_axis(maps: hd.VolumeGeometry, factors: np.ndarray) -> int:
    """The axis that is not sharpened, or, of three, the one nearest to head-feet."""
    if factors.min() == 1:
        return int(np.argmin(factors))
    return int(np.argmax(np.abs(maps.direction[2])))


def _findings(
    guides: np.ndarray, factors: np.ndarray, fine: np.ndarray, axis: int
) -> list[Finding]:
    findings = []
    if factors.max() == LARGEST_FACTOR and (fine > 1.02 * guides).any():
        findings.append(
            Finding(
                "guide-finer-than-trained",
                f"The guides' voxels of {lengths(guides)} are more than {LARGEST_FACTOR:g} times "
                f"finer than the maps, beyond training: the result has {lengths(fine)}.",
            )
        )
    plane = np.delete(fine, axis)
    low, high = TRAINED_VOXELS
    if plane.min() < low or plane.max() > high:
        findings.append(
            Finding(
                "voxel-size-outside-training",
                f"The result's voxels of {lengths(plane)} in plane lie outside the {low:g} to "
                f"{high:g} mm of the anatomy that the network was trained on.",
            )
        )
    return findings
