"""Where each tissue of the phantom lies: hull, folds, ventricles, nuclei, cerebellum.

Coordinates are patient coordinates (LPS) in mm: x to the left, y to the back, z to the head.
Shapes are given as fields over points: a distance in mm, or a level that is 1 on the surface
and smaller inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""x, y, z in mm, broadcastable to (slices, rows, columns)."""
Position = tuple[float, float, float]

CORTEX_THICKNESS = 3.2
_FISSURE_HALF_WIDTH = 1.3
_SULCUS_HALF_WIDTH = 0.75
_SULCUS_DEPTH = 17.0
_FOLD_WAVELENGTH = 24.0
_FOLIA_WAVELENGTH = 7.0

# Middle lines on the left side and radii; the right side is their mirror image.
_LATERAL_VENTRICLE: tuple[tuple[Position, float], ...] = (
    ((10, -36, 8), 3.0),
    ((8, -26, 14), 5.5),
    ((7, -8, 20), 4.5),
    ((9, 10, 22), 4.5),
    ((15, 26, 18), 6.0),
    ((22, 36, 10), 6.5),
    ((21, 50, 8), 4.0),
    ((18, 62, 8), 1.5),
)
_TEMPORAL_HORN: tuple[tuple[Position, float], ...] = (
    ((22, 36, 10), 6.0),
    ((30, 28, -4), 3.5),
    ((32, 8, -18), 2.8),
    ((30, -6, -22), 2.0),
)
_THIRD_VENTRICLE: tuple[tuple[Position, float], ...] = (
    ((0, -6, -4), 2.2),
    ((0, 6, 4), 2.4),
    ((0, 20, 4), 2.2),
    ((0, 28, -6), 1.6),
    ((0, 36, -28), 3.5),
    ((0, 36, -40), 4.0),
)
_BRAINSTEM: tuple[tuple[Position, float], ...] = (
    ((0, 14, -2), 12.0),
    ((0, 20, -20), 14.0),
    ((0, 22, -36), 16.0),
    ((0, 28, -60), 11.0),
)


def ellipsoid(points: Points, centre: Position, radii: Position, turn: float = 0.0) -> np.ndarray:
    """Level of an ellipsoid, turned by ``turn`` degrees about the head-foot axis."""
    x, y, z = (axis - middle for axis, middle in zip(points, centre, strict=True))
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    x, y = cosine * x + sine * y, cosine * y - sine * x
    return np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)


def tube(points: Points, line: Sequence[tuple[Position, float]]) -> np.ndarray:
    """Distance in mm from a tube around ``line``, of radius given at each corner."""
    distance: np.ndarray = np.full((), np.inf, dtype=np.float32)
    for (start, first), (end, last) in pairwise(line):
        away, share = distance_from_segment(points, start, end)
        distance = np.minimum(distance, away - (first + share * (last - first)))
    return distance


def distance_from_segment(
    points: Points, start: Position, end: Position
) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm from a straight piece, and how far along it (0 to 1) the nearest point is."""
    way = np.subtract(end, start).astype(np.float32)
    offsets = [axis - np.float32(origin) for axis, origin in zip(points, start, strict=True)]
    share = sum(o * w for o, w in zip(offsets, way, strict=True)) / np.float32(way @ way)
    share = np.clip(share, 0, 1)
    squares = [(o - share * w) ** 2 for o, w in zip(offsets, way, strict=True)]
    return np.sqrt(sum(squares[1:], squares[0])), share


def mirrored(points: Points) -> Points:
    """The points on the left side that stand for those on both sides."""
    return (np.abs(points[0]), points[1], points[2])


def cerebrum(points: Points) -> np.ndarray:
    """Smooth hull of both hemispheres as a level, without fissures and folds."""
    x, y, z = points
    # Narrow at the front, flat below: the lower half has its own height, less at the back.
    width = 68 * (1 - 0.0016 * np.maximum(-y, 0) - 0.0006 * np.maximum(y, 0))
    below = np.where(y > 0, 30 - 0.16 * y, 34 + 0.05 * y)
    height = np.where(z > 6, 62, below)
    body = (
        (np.abs(x) / width) ** 2.3 + (np.abs(y - 4) / 88) ** 2.2 + (np.abs(z - 6) / height) ** 2.2
    ) ** (1 / 2.2)
    temporal = ellipsoid(mirrored(points), (42, -2, -22), (21, 42, 20))
    return np.minimum(body, temporal)


def gaps(points: Points, folds: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Boolean: fluid between the hemispheres, in the Sylvian fissures and in the sulci.

    Args:
        points: x, y, z.
        folds: (slices, rows, columns) distance in mm from the folding surfaces.
        depth: (slices, rows, columns) distance in mm from the hull.
    """
    x, y, z = points
    # The corpus callosum bridges the hemispheres: the fissure ends above and around it.
    callosum = ellipsoid((np.zeros_like(x), y, z), (0, 2, 12), (1, 40, 19))
    midline = np.abs(x + 1.2 * np.sin(y / 19) * np.cos(z / 23))
    fissure = (midline < _FISSURE_HALF_WIDTH) & (callosum > 1)
    bend = z + 5 - 0.22 * y - 0.10 * (np.abs(x) - 40)
    sylvian = (np.abs(bend) < 1.6) & (np.abs(x) > 33) & (y > -40) & (y < 38) & (depth < 30)
    sulci = (folds < _SULCUS_HALF_WIDTH) & (depth < _SULCUS_DEPTH)
    return fissure | sylvian | sulci


def folding_surfaces(
    shape: tuple[int, int, int], spacing: Sequence[float], random: np.random.Generator
) -> np.ndarray:
    """Distance in mm from the zero surfaces of band-limited noise, which wind like sulci.

    Args:
        shape: of the grid.
        spacing: of the grid, mm.
        random: source of the noise.
    """
    width = [_FOLD_WAVELENGTH / 5 / step for step in spacing]
    noise = random.standard_normal(shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, width, mode="wrap")
    smooth -= ndimage.gaussian_filter(smooth, width, mode="wrap")
    slope = np.sqrt(
        sum(part**2 for part in np.gradient(smooth, *[np.float32(step) for step in spacing]))
    )
    return np.abs(smooth) / np.maximum(slope, np.percentile(slope, 5))


def ventricles(points: Points) -> np.ndarray:
    """Distance in mm from the ventricles."""
    left = mirrored(points)
    lateral = np.minimum(tube(left, _LATERAL_VENTRICLE), tube(left, _TEMPORAL_HORN))
    # A wall of tissue, the septum, parts the two lateral ventricles.
    lateral = np.maximum(lateral, 0.8 - left[0])
    return np.minimum(lateral, tube(points, _THIRD_VENTRICLE))


def deep_nuclei(points: Points) -> np.ndarray:
    """Level of caudate nucleus, putamen and thalamus."""
    left = mirrored(points)
    caudate_tail = 1 + tube(left, [((16, -8, 20), 3.5), ((19, 14, 22), 2.2)]) / 3
    return np.minimum.reduce(
        [
            ellipsoid(left, (14, -22, 12), (5, 10, 9)),
            caudate_tail,
            ellipsoid(left, (27, -2, 4), (5.5, 17, 11), turn=-14),
            ellipsoid(left, (10.5, 17, 8), (7.5, 14, 9), turn=-22),
        ]
    )


def pallidum(points: Points) -> np.ndarray:
    """Level of the globus pallidus."""
    return ellipsoid(mirrored(points), (20, 0, 2), (3.5, 9, 6), turn=-20)


def brainstem(points: Points) -> np.ndarray:
    """Distance in mm from the brainstem."""
    return tube(points, _BRAINSTEM)


def cerebellum(points: Points) -> np.ndarray:
    """Level of the cerebellum."""
    return ellipsoid(mirrored(points), (17, 50, -38), (36, 30, 23))


def folia(points: Points) -> np.ndarray:
    """Boolean: grey layers of the cerebellum, which follow each other like leaves."""
    x, y, z = points
    phase = np.hypot(y - 36, z + 30) * 0.25 + np.arctan2(z + 34, y - 34) * 4 + np.abs(x) / 9
    return np.sin(phase * 2 * np.pi * _FOLIA_WAVELENGTH / 14) > -0.1


def lesion(points: Points) -> np.ndarray:
    """Level of a lesion in the white matter of the left frontal lobe."""
    x, y, z = points
    ripple = 1 + 0.12 * np.sin(x / 2.1) * np.cos(y / 2.7) + 0.1 * np.sin(z / 3.1 + x / 4)
    return ellipsoid(points, (28, -30, 13), (8, 10, 9)) * ripple
