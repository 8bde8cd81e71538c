"""The slices that a page shows: which plane, which slices, which part, and how labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np

from operators.vocabulary.quantity import QuantityMap

# Directions in which slice, row and column indices count in radiological convention.
_PLANES = {"axial": "HPL", "coronal": "PFL", "sagittal": "LFP"}
_OPPOSITE = {"H": "F", "F": "H", "L": "R", "R": "L", "A": "P", "P": "A"}
_PLANE_OF_NORMAL = {"H": "axial", "F": "axial", "A": "coronal", "P": "coronal",
                    "L": "sagittal", "R": "sagittal"}  # fmt: skip
_AXIS_OF_LETTER = {"L": (1, 0, 0), "P": (0, 1, 0), "H": (0, 0, 1), "F": (0, 0, 1)}
_FEWEST_VOXELS = 16
_NARROWEST = 0.25
_MARGIN = 0.06


@dataclass(frozen=True)
class DisplayPlane:
    """How the volumes of one grid are shown.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        slices: indices of the slices shown, in the reoriented volume.
        rows: first and last + 1 row shown.
        columns: first and last + 1 column shown.
        pixel_aspect: height of a pixel over its width.
        left: letter of the patient's side at the left edge ("R" in an axial picture).
        right: letter at the right edge.
    """

    name: str
    slices: tuple[int, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]
    pixel_aspect: float
    left: str
    right: str

    @property
    def aspect(self) -> float:
        """Width over height of one shown slice."""
        width = self.columns[1] - self.columns[0]
        height = (self.rows[1] - self.rows[0]) * self.pixel_aspect
        return width / height

    def axes(self) -> np.ndarray:
        """Patient directions of one column right, one row down, one slice on: (3, 3) rows.

        Each holds its shares of left-right, front-back and head-feet, without sign.
        """
        letters = _PLANES[self.name]
        return np.array([_AXIS_OF_LETTER[letters[i]] for i in (2, 1, 0)], float)

    def pictures(self, volume: hd.Volume) -> list[np.ndarray]:
        """The shown part of each shown slice: (rows, columns) or (rows, columns, 3)."""
        turned = volume.to_patient_orientation(_PLANES[self.name]).array
        rows, columns = slice(*self.rows), slice(*self.columns)
        return [turned[index, rows, columns] for index in self.slices]


def analysed_voxels(maps: Sequence[QuantityMap]) -> hd.Volume:
    """Voxels in which any map differs from its background: bool (slices, rows, columns)."""
    analysed = np.zeros(maps[0].volume.spatial_shape, bool)
    for quantity_map in maps:
        analysed |= quantity_map.volume.array != quantity_map.background
    return maps[0].volume.get_geometry().with_array(analysed)


def display_plane(analysed: hd.Volume, slices: int) -> DisplayPlane:
    """Chooses central slices of the analysed region, axial whatever the acquisition.

    Indices are permuted and flipped, never interpolated, so an oblique volume is shown along
    its nearest axes. A volume that is too thin for an axial picture (a single sagittal slice)
    is shown in the plane in which it was acquired.

    Args:
        analysed: bool (slices, rows, columns), the voxels that matter.
        slices: number of slices wanted; fewer where the region has fewer.
    """
    name = _plane_name(analysed)
    turned = analysed.to_patient_orientation(_PLANES[name])
    mask = turned.array if turned.array.any() else np.ones_like(turned.array)
    shown = _central_slices(np.asarray(mask.any(axis=(1, 2))), slices)
    region = np.asarray(mask[list(shown)].any(axis=0))
    if not region.any():
        region = np.asarray(mask.any(axis=0))
    columns_point_to = _PLANES[name][2]
    return DisplayPlane(
        name=name,
        slices=shown,
        rows=_extent(np.asarray(region.any(axis=1))),
        columns=_extent(np.asarray(region.any(axis=0))),
        pixel_aspect=turned.spacing[1] / turned.spacing[2],
        left=_OPPOSITE[columns_point_to],
        right=columns_point_to,
    )


def _plane_name(volume: hd.Volume) -> str:
    axial = volume.to_patient_orientation(_PLANES["axial"])
    voxels, lengths = axial.spatial_shape[1:], axial.physical_extent[1:]
    if min(voxels) >= _FEWEST_VOXELS and min(lengths) >= _NARROWEST * max(lengths):
        return "axial"
    return _PLANE_OF_NORMAL[volume.get_closest_patient_orientation()[0].value]


def _central_slices(occupied: np.ndarray, wanted: int) -> tuple[int, ...]:
    """Slices at equal distances around the middle of the occupied ones.

    Two lie at 3/8 and 5/8 of the way, three at 2/6, 3/6 and 4/6.
    """
    indices = np.flatnonzero(occupied)
    first, last = indices[0], indices[-1]
    wanted = min(wanted, last - first + 1)
    fractions = 0.5 + (np.arange(wanted) - (wanted - 1) / 2) / (2 * max(wanted, 1))
    return tuple(int(i) for i in np.unique(np.rint(first + fractions * (last - first)).astype(int)))


def _extent(occupied: np.ndarray) -> tuple[int, int]:
    indices = np.flatnonzero(occupied)
    margin = round(_MARGIN * (indices[-1] - indices[0] + 1))
    return max(0, int(indices[0]) - margin), min(len(occupied), int(indices[-1]) + 1 + margin)
