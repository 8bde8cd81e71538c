"""Which segments of a parcellation the tracks connect.

A track belongs to the two segments that lie nearest to its ends, within a radius: tracks end
where anisotropy falls, at the rim of white matter, and a parcellation of grey matter begins
beyond (the assignment by radial search of MRtrix3's ``tck2connectome``, Smith et al.,
NeuroImage 104:253 (2015), doi 10.1016/j.neuroimage.2014.10.004).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from operators.vocabulary.acquisition import SourceSeries
from operators.vocabulary.tracts import Connectivity, TrackSet

#: mm around the end of a track in which the nearest segment is looked for.
RADIUS = 4.0


def connect(
    tracks: TrackSet,
    labels: np.ndarray,
    segments: Sequence[str],
    source: SourceSeries,
    radius: float = RADIUS,
) -> Connectivity:
    """The connectivity matrix of one parcellation.

    Args:
        tracks: tracks in mm, LPS.
        labels: integers (slices, rows, columns) on the grid of the tracks: 1 for the first of
            ``segments`` and so on, 0 elsewhere.
        segments: their labels.
        source: of the parcellation.
        radius: mm; 0 takes the voxel in which the end lies.

    Raises:
        ValueError: the labels lie on another grid.
    """
    if labels.shape != tracks.geometry.spatial_shape:
        raise ValueError(f"labels are {labels.shape}, tracks {tracks.geometry.spatial_shape}")
    count = len(segments)
    ends = _nearest_label(tracks, labels, radius)
    met = np.all(ends > 0, axis=1)
    first, second = np.sort(ends[met], axis=1).T - 1
    shape = (count, count)
    number = np.zeros(shape, np.int64)
    length, anisotropy = np.zeros(shape), np.zeros(shape)
    np.add.at(number, (first, second), 1)
    np.add.at(length, (first, second), tracks.lengths()[met])
    np.add.at(anisotropy, (first, second), tracks.mean_anisotropy()[met])
    number, length, anisotropy = map(_symmetric, (number, length, anisotropy))
    divisor = np.where(number > 0, number, np.nan)
    return Connectivity(
        segments=tuple(segments),
        tracks=number,
        length=length / divisor,
        anisotropy=anisotropy / divisor,
        radius=radius,
        source=source,
    )


def _nearest_label(tracks: TrackSet, labels: np.ndarray, radius: float) -> np.ndarray:
    """Label nearest to each end of each track, (tracks, 2); 0 where none is in reach."""
    if not labels.any():
        return np.zeros((len(tracks), 2), np.int64)
    distance, nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=tracks.geometry.spacing, return_indices=True
    )
    inverse = np.linalg.inv(tracks.geometry.affine)
    place = tracks.ends() @ inverse[:3, :3].T + inverse[:3, 3]
    last = np.array(labels.shape) - 1
    voxel = tuple(np.moveaxis(np.clip(np.rint(place).astype(np.int64), 0, last), -1, 0))
    found = labels[tuple(axis[voxel] for axis in nearest)]
    return np.where(distance[voxel] <= radius, found, 0).astype(np.int64)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return matrix + np.triu(matrix, k=1).T
