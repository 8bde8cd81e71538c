"""Puts a map or a region on the grid of another series, by physical coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from scipy import ndimage

from operators.vocabulary.refusal import Refusal

#: Grids whose corners lie closer than this part of the smallest voxel side are one grid.
SAME_GRID = 0.01
#: A voxel is known if at least this part of its interpolation weights falls on known voxels.
KNOWN_WEIGHT = 0.5


@dataclass(frozen=True)
class Resampled:
    """A map on another grid.

    Attributes:
        values: float32 (slices, rows, columns); 0 where not known.
        known: boolean, same shape: covered by known voxels of the map.
        interpolated: False where both grids are one and the values are those of the map.
    """

    values: np.ndarray
    known: np.ndarray
    interpolated: bool


def same_frame_of_reference(one: hd.VolumeGeometry, other: hd.VolumeGeometry) -> bool:
    """Whether both state the same Frame of Reference UID (0020,0052).

    Asked here and not of ``geometry_equal``, which compares the UID with itself
    (highdicom 0.28).
    """
    return (
        one.frame_of_reference_uid is not None
        and one.frame_of_reference_uid == other.frame_of_reference_uid
    )


def same_grid(one: hd.VolumeGeometry, other: hd.VolumeGeometry) -> bool:
    """Whether the voxels of both lie at the same places."""
    if one.spatial_shape != other.spatial_shape:
        return False
    sides = np.array(one.spatial_shape) - 1
    corners = np.array(np.meshgrid(*((0, side) for side in sides))).reshape(3, -1)
    homogeneous = np.vstack((corners, np.ones(corners.shape[1])))
    distance = np.linalg.norm(((one.affine - other.affine) @ homogeneous)[:3], axis=0)
    return bool(distance.max() < SAME_GRID * min(one.spacing))


def same_voxels(one: hd.VolumeGeometry, other: hd.VolumeGeometry) -> bool:
    """Whether the centres of ``other`` are centres of ``one``, in whatever order of axes."""
    to_one = np.linalg.inv(one.affine) @ other.affine
    whole = np.rint(to_one)
    reach = np.array([*other.spatial_shape, 1.0])
    off = (np.abs(to_one - whole) @ reach)[:3]
    return bool(off.max() < SAME_GRID and abs(np.linalg.det(whole)) == 1)


def resample(
    values: np.ndarray, known: np.ndarray, grid: hd.VolumeGeometry, target: hd.VolumeGeometry
) -> Resampled:
    """Interpolate a map linearly at the voxel centres of ``target``.

    Voxels that are not known take no part: a T1 map's zeros around the head do not lower T1 at
    its rim.

    Args:
        values: (slices, rows, columns) of the map.
        known: boolean, same shape: where ``values`` mean something.
        grid: of the map.
        target: grid wanted.

    Raises:
        Refusal: the grids do not share a Frame of Reference.
    """
    if not same_frame_of_reference(grid, target):
        raise Refusal(
            "frame-of-reference-differs",
            "a map lies in another Frame of Reference (0020,0052) than the series",
            "Register the map to the series, or acquire both without moving the patient out.",
        )
    if same_grid(grid, target):
        return Resampled(np.where(known, values, 0).astype(np.float32), known, interpolated=False)
    to_map = np.linalg.inv(grid.affine) @ target.affine
    result = np.zeros(target.spatial_shape, np.float32)
    covered = np.zeros(target.spatial_shape, dtype=bool)
    # A map of one slice still has a thickness: half a voxel around the centres is covered.
    weights = np.pad(known.astype(np.float32), 1, mode="edge")
    weighted = np.pad(np.where(known, values, 0).astype(np.float32), 1, mode="edge")
    rows, columns = np.indices(target.spatial_shape[1:])
    for position in range(target.spatial_shape[0]):
        index = np.stack(
            (np.full(rows.size, position), rows.ravel(), columns.ravel(), np.ones(rows.size))
        )
        place = (to_map @ index)[:3]
        inside = np.all(
            (place >= -0.5) & (place <= np.array(grid.spatial_shape)[:, None] - 0.5), axis=0
        )
        share = ndimage.map_coordinates(weights, place + 1, order=1)
        total = ndimage.map_coordinates(weighted, place + 1, order=1)
        reached = inside & (share >= KNOWN_WEIGHT)
        covered[position] = reached.reshape(rows.shape)
        result[position] = np.where(reached, total / np.where(reached, share, 1), 0).reshape(
            rows.shape
        )
    return Resampled(result, covered, interpolated=True)


def nearest_voxels(grid: hd.VolumeGeometry, target: hd.VolumeGeometry) -> np.ndarray:
    """For each voxel of ``target`` the voxel of ``grid`` in which its centre lies.

    Args:
        grid: of a region, of any orientation.
        target: grid wanted.

    Returns:
        int64, shape of ``target``: index into the flattened ``grid``, -1 outside of it.

    Raises:
        Refusal: the grids do not share a Frame of Reference.
    """
    if not same_frame_of_reference(grid, target):
        raise Refusal(
            "frame-of-reference-differs",
            "a region lies in another Frame of Reference (0020,0052) than the series",
            "Draw it on images of the same examination, or register it to them.",
        )
    to_grid = np.linalg.inv(grid.affine) @ target.affine
    sides = np.array(grid.spatial_shape)
    nearest = np.empty(target.spatial_shape, np.int64)
    rows, columns = np.indices(target.spatial_shape[1:])
    for position in range(target.spatial_shape[0]):
        index = np.stack(
            (np.full(rows.size, position), rows.ravel(), columns.ravel(), np.ones(rows.size))
        )
        voxel = np.floor((to_grid @ index)[:3] + 0.5).astype(np.int64)
        inside = np.all((voxel >= 0) & (voxel < sides[:, None]), axis=0)
        flat = (voxel[0] * sides[1] + voxel[1]) * sides[2] + voxel[2]
        nearest[position] = np.where(inside, flat, -1).reshape(rows.shape)
    return nearest
