"""Tracks that follow fibres, and which regions they connect."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from operators.vocabulary.acquisition import SourceSeries


@dataclass(frozen=True)
class TrackSet:
    """Tracks of one tractography: lines of points that follow the principal direction.

    Attributes:
        label: Track Set Label.
        site: anatomic site (CID 7710 of PS3.16, or SCT).
        points: float32 (points, 3) mm in the patient frame (LPS), track after track.
        offsets: int64 (tracks + 1,) first point of each track, and the number of points.
        anisotropy: float32 (points,) FA at each point, 0 to 1.
        geometry: grid of the field that was followed, LPS affine in mm.
        model: what the field was fitted with (CID 7261 of PS3.16).
        family: how it was tracked (CID 7262 of PS3.16).
        parameters: settings of the tracking, as text.
    """

    label: str
    site: Code
    points: np.ndarray
    offsets: np.ndarray
    anisotropy: np.ndarray
    geometry: hd.VolumeGeometry
    model: Code
    family: Code
    parameters: dict[str, str]

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise ValueError(f"points must be (points, 3), got {self.points.shape}")
        if self.anisotropy.shape != (len(self.points),):
            raise ValueError(
                f"anisotropy must be ({len(self.points)},), got {self.anisotropy.shape}"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.points):
            raise ValueError(f"offsets must lead from 0 to {len(self.points)}")
        if len(self) == 0 or np.diff(self.offsets).min() < 2:
            raise ValueError("a track set has a track or more, each of two points or more")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def tracks(self) -> list[np.ndarray]:
        """The points of each track: views of (points, 3), mm, LPS."""
        return np.split(self.points, self.offsets[1:-1])

    def ends(self) -> np.ndarray:
        """First and last point of each track: (tracks, 2, 3), mm, LPS."""
        return np.stack((self.points[self.offsets[:-1]], self.points[self.offsets[1:] - 1]), axis=1)

    def lengths(self) -> np.ndarray:
        """Length of each track along its points: float64 (tracks,), mm."""
        steps = np.linalg.norm(np.diff(self.points.astype(np.float64), axis=0), axis=1)
        walked = np.concatenate(([0.0], np.cumsum(steps)))
        return np.asarray(walked[self.offsets[1:] - 1] - walked[self.offsets[:-1]])

    def mean_anisotropy(self) -> np.ndarray:
        """Mean FA over the points of each track: float64 (tracks,)."""
        summed = np.add.reduceat(self.anisotropy.astype(np.float64), self.offsets[:-1])
        return np.asarray(summed / np.diff(self.offsets))


@dataclass(frozen=True)
class Connectivity:
    """Which segments of a parcellation the tracks connect.

    Attributes:
        segments: label of each segment.
        tracks: int64 (segments, segments), symmetric: tracks with one end in each; on the
            diagonal those with both ends in one.
        length: float64, same shape: mean length of these tracks, mm; NaN without tracks.
        anisotropy: float64, same shape: mean over these tracks of their mean FA; NaN without.
        radius: mm around a track's end in which the nearest segment was looked for.
        source: the series of the parcellation.
    """

    segments: tuple[str, ...]
    tracks: np.ndarray
    length: np.ndarray
    anisotropy: np.ndarray
    radius: float
    source: SourceSeries

    def pairs(self) -> list[tuple[int, int]]:
        """Indices of different segments that a track connects, most tracks first."""
        first, second = np.nonzero(np.triu(self.tracks, k=1))
        order = np.argsort(-self.tracks[first, second], kind="stable")
        return [(int(first[index]), int(second[index])) for index in order]
