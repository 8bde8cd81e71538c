"""From the planes of a series to one grid of voxels, or the reason why there is none.

The affine follows DICOM PS3.3 C.7.6.2.1.1: the column index moves along the row cosine by the
spacing between columns, the row index along the column cosine by the spacing between rows.
Slices are ordered along row × column, whatever their Instance Numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np

from operators.ingest.frames import Frame
from operators.vocabulary.refusal import Refusal

_PIXEL_SHARE = 0.05
"""In-plane shift between slices that is tolerated, as a share of the pixel spacing."""
_SPACING_SHARE = 0.02
"""Deviation of a slice from its place that is tolerated, as a share of the slice spacing."""
_COSINE_TOLERANCE = 1e-3
_LENGTH_TOLERANCE = 1e-3
_SAME_PLANE = 0.01
"""Distance below which two frames lie in one plane, as a share of the pixel spacing."""

_SEND_WHOLE = "Send the complete series, one stack of parallel slices, as the scanner made it."


@dataclass(frozen=True)
class Grid:
    """A grid of voxels and the slice in which each frame lies.

    Attributes:
        geometry: of one volume (slices, rows, columns), LPS affine in mm.
        slice_of: (frames,) slice index of each frame.
    """

    geometry: hd.VolumeGeometry
    slice_of: np.ndarray


def grid_of(frames: Sequence[Frame]) -> Grid:
    """The grid on which ``frames`` lie: a stack of parallel, evenly spaced slices.

    Raises:
        Refusal: matrix, pixel spacing or orientation differ between frames, the slices are
            shifted against each other (gantry tilt), or unevenly spaced.
    """
    first = frames[0]
    _check_same(frames)
    row_cosine, column_cosine = _cosines(first)
    normal = np.cross(row_cosine, column_cosine)
    spacing = np.array(first.spacing)
    if not (spacing > 0).all():
        raise Refusal("invalid-pixel-spacing", f"pixel spacing is {first.spacing}", _SEND_WHOLE)
    positions = np.array([frame.position for frame in frames])
    distances = positions @ normal
    order = np.argsort(distances, kind="stable")
    starts_slice = np.diff(distances[order], prepend=-np.inf) > _SAME_PLANE * spacing.min()
    slice_of = np.empty(len(frames), dtype=int)
    slice_of[order] = np.cumsum(starts_slice) - 1
    levels = distances[order][starts_slice]
    origin = positions[order[0]]
    _check_perpendicular(positions, distances, origin, normal, spacing)
    step = _slice_step(levels, first)
    affine = np.eye(4)
    affine[:3, 0] = normal * step
    affine[:3, 1] = column_cosine * spacing[0]
    affine[:3, 2] = row_cosine * spacing[1]
    affine[:3, 3] = origin
    geometry = hd.VolumeGeometry(
        affine=affine,
        spatial_shape=(len(levels), first.rows, first.columns),
        coordinate_system="PATIENT",
        frame_of_reference_uid=first.header.text("FrameOfReferenceUID") or None,
    )
    return Grid(geometry, slice_of)


def _check_same(frames: Sequence[Frame]) -> None:
    """Refuse frames that differ in what a stack of slices must share."""
    matrices = {(frame.rows, frame.columns) for frame in frames}
    if len(matrices) > 1:
        shown = ", ".join(f"{rows}×{columns}" for rows, columns in sorted(matrices))
        raise Refusal("inconsistent-matrix", f"images differ in size: {shown}", _SEND_WHOLE)
    for attribute, rule, name, tolerance in (
        ("spacing", "inconsistent-pixel-spacing", "pixel spacing", _LENGTH_TOLERANCE),
        ("orientation", "inconsistent-orientation", "orientation", _COSINE_TOLERANCE),
    ):
        distinct = sorted({getattr(frame, attribute) for frame in frames})
        deviation = np.ptp(np.array(distinct), axis=0).max()
        if deviation > tolerance:
            raise Refusal(
                rule, f"{name} differs between slices by up to {deviation:.4g}", _SEND_WHOLE
            )
    uids = {frame.header.text("FrameOfReferenceUID") for frame in frames}
    if len(uids) > 1:
        raise Refusal(
            "inconsistent-frame-of-reference",
            f"images belong to {len(uids)} frames of reference",
            _SEND_WHOLE,
        )


def _cosines(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Row and column cosine, exactly of unit length and orthogonal."""
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if (
        max(abs(length - 1) for length in lengths) > _COSINE_TOLERANCE
        or abs(row @ column) > _COSINE_TOLERANCE
    ):
        raise Refusal(
            "invalid-orientation",
            f"Image Orientation (Patient) {frame.orientation} is not two orthogonal unit vectors",
            _SEND_WHOLE,
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _check_perpendicular(
    positions: np.ndarray,
    distances: np.ndarray,
    origin: np.ndarray,
    normal: np.ndarray,
    spacing: np.ndarray,
) -> None:
    """Refuse slices of which the first pixels do not lie above each other."""
    depth = distances - origin @ normal
    in_plane = np.linalg.norm(positions - origin - np.outer(depth, normal), axis=1)
    farthest = int(in_plane.argmax())
    if in_plane[farthest] > _PIXEL_SHARE * spacing.min():
        reason = f"slices are shifted in plane by up to {in_plane[farthest]:.3g} mm"
        if depth[farthest] > 0:
            angle = np.degrees(np.arctan2(in_plane[farthest], depth[farthest]))
            reason += f", {angle:.1f}° from their normal (gantry tilt or sheared slab)"
        raise Refusal(
            "gantry-tilt", reason, "Acquire without tilt, or send a series resampled by the vendor."
        )


def _slice_step(levels: np.ndarray, first: Frame) -> float:
    """Distance between neighbouring slices in mm."""
    if len(levels) == 1:
        for keyword in ("SpacingBetweenSlices", "SliceThickness"):
            stated = first.header.number(keyword)
            if stated:
                return abs(stated)
        raise Refusal(
            "slice-thickness-missing",
            "the only slice states neither thickness nor spacing",
            _SEND_WHOLE,
        )
    step = float(levels[-1] - levels[0]) / (len(levels) - 1)
    deviation = np.abs(levels - (levels[0] + step * np.arange(len(levels)))).max()
    if deviation > _SPACING_SHARE * step:
        gaps = np.diff(levels)
        usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
        worst = int(np.abs(gaps - usual).argmax())
        reason = (
            f"slices {worst + 1} and {worst + 2} of {len(levels)} are {gaps[worst]:.4g} mm apart, "
            f"the others {usual:.4g} mm"
        )
        missing = round(gaps[worst] / usual) - 1
        if missing >= 1 and abs(gaps[worst] / usual - missing - 1) < 0.1:
            reason += f" ({missing} missing between them?)"
        raise Refusal("uneven-slice-spacing", reason, _SEND_WHOLE)
    _check_stated_spacing(step, first)
    return step


def _check_stated_spacing(step: float, first: Frame) -> None:
    """Refuse a stack of which every second, third, … slice is there.

    Only a stated spacing of at least the slice thickness is believed: some scanners write the
    gap between slices there.
    """
    stated = first.header.number("SpacingBetweenSlices") or 0.0
    thickness = first.header.number("SliceThickness") or 0.0
    if stated <= 0 or thickness <= 0 or stated < thickness * (1 - _SPACING_SHARE):
        return
    multiple = round(step / stated)
    if multiple >= 2 and abs(step / stated - multiple) < _SPACING_SHARE:
        raise Refusal(
            "missing-slices",
            f"slices are {step:.4g} mm apart, {multiple} times the stated spacing of "
            f"{stated:.4g} mm",
            _SEND_WHOLE,
        )
