"""Which way the fibres of the phantom's white matter run.

Each bundle has a weight and a direction at every point; where bundles meet, their dyadics
g gᵀ are averaged by weight, so that crossings are less anisotropic, as in a brain.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from app.demo.brain_shapes import Points, Position, distance_from_segment, mirrored

# Middle line on the left side, and radius at each corner, mm.
_CORTICOSPINAL: tuple[tuple[Position, float], ...] = (
    ((5, 24, -60), 6.0),
    ((9, 16, -28), 7.0),
    ((14, 10, -12), 6.5),
    ((20, 8, 6), 6.0),
    ((25, 4, 28), 9.0),
    ((32, 0, 62), 16.0),
)
_ANTERIOR_CAPSULE: tuple[tuple[Position, float], ...] = (
    ((11, 8, 6), 5.0),
    ((19, -16, 8), 5.0),
    ((22, -40, 12), 10.0),
    ((24, -62, 14), 13.0),
)
_CINGULUM: tuple[tuple[Position, float], ...] = (
    ((7, -40, 8), 4.0),
    ((7, -34, 26), 4.5),
    ((7, -10, 36), 5.0),
    ((7, 20, 36), 5.0),
    ((8, 42, 24), 4.5),
    ((12, 46, 8), 4.0),
)
_SUPERIOR_LONGITUDINAL: tuple[tuple[Position, float], ...] = (
    ((36, -40, 20), 8.0),
    ((38, -10, 27), 8.0),
    ((38, 24, 25), 8.0),
    ((38, 44, 8), 8.0),
    ((44, 20, -16), 8.0),
)
_INFERIOR_LONGITUDINAL: tuple[tuple[Position, float], ...] = (
    ((36, -26, -24), 7.0),
    ((36, 10, -14), 7.0),
    ((30, 40, 0), 8.0),
    ((18, 72, 4), 11.0),
)
_FRONTO_OCCIPITAL: tuple[tuple[Position, float], ...] = (
    ((26, -58, 8), 9.0),
    ((34, -28, 4), 7.0),
    ((38, 2, 8), 8.0),
    ((34, 34, 10), 8.0),
    ((24, 66, 12), 10.0),
)
_CEREBELLAR_PEDUNCLE: tuple[tuple[Position, float], ...] = (
    ((0, 14, -38), 8.0),
    ((16, 22, -38), 8.0),
    ((26, 46, -40), 14.0),
)
_TUBES = (
    (_CORTICOSPINAL, 1.0),
    (_ANTERIOR_CAPSULE, 0.8),
    (_CINGULUM, 1.0),
    (_SUPERIOR_LONGITUDINAL, 0.9),
    (_INFERIOR_LONGITUDINAL, 0.9),
    (_FRONTO_OCCIPITAL, 0.8),
    (_CEREBELLAR_PEDUNCLE, 0.9),
)


def fibre_dyadics(points: Points) -> np.ndarray:
    """Mean of g gᵀ of the fibres at each point.

    Args:
        points: x, y, z in mm.

    Returns:
        (slices, rows, columns, 6) xx, yy, zz, xy, xz, yz; the trace is below 1 where fibres
        are sparse or their directions unknown.
    """
    left = mirrored(points)
    side = np.where(points[0] < 0, -1.0, 1.0).astype(np.float32)
    shape = np.broadcast_shapes(*(axis.shape for axis in points))
    dyadics = np.zeros((*shape, 6), dtype=np.float32)
    total = np.full(shape, 0.14, dtype=np.float32)
    bundles = [_corpus_callosum(left), _fans(left)]
    for weight, direction in bundles:
        _add(dyadics, total, weight, direction, side)
    for line, strength in _TUBES:
        for (start, first), (end, last) in pairwise(line):
            away, share = distance_from_segment(left, start, end)
            radius = first + share * (last - first)
            weight = strength * np.exp(-((away / radius) ** 2) * 1.5)
            way = np.subtract(end, start)
            _add(dyadics, total, weight, tuple(way / np.linalg.norm(way)), side)
    return dyadics / total[..., None]


def _add(
    dyadics: np.ndarray,
    total: np.ndarray,
    weight: np.ndarray,
    direction: Sequence[np.ndarray],
    side: np.ndarray,
) -> None:
    """Add one bundle; its left-right component changes sign with the side."""
    x, y, z = (np.asarray(part, dtype=np.float32) for part in direction)
    x = x * side
    for element, product in enumerate((x * x, y * y, z * z, x * y, x * z, y * z)):
        dyadics[..., element] += weight * product
    total += weight


def _corpus_callosum(left: Points) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Commissural fibres: across at the midline, then fanning up, forwards and backwards."""
    x, y, z = left
    # The sheet arches over the ventricles from genu to splenium.
    arch = np.sqrt(((y - 2) / 40) ** 2 + ((z - 8) / 21) ** 2)
    thickness = 0.11 + 0.0024 * np.maximum(x - 8, 0)
    weight = 1.3 * np.exp(-(((arch - 1) / thickness) ** 2)) * np.exp(-((x / 34) ** 4))
    weight = weight * (z > -2)
    turn = np.clip((x - 6) / 22, 0, 1) * 1.6
    forwards = (y - 2) / 40 * turn
    upwards = np.maximum(z - 8, 0) / 21 * turn
    length = np.sqrt(1 + forwards**2 + upwards**2)
    return weight, (1 / length, forwards / length, upwards / length)


def _fans(left: Points) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Short fibres that run from the middle of the hemisphere to the cortex around it."""
    x, y, z = left
    across = (x - 22) / 44**2
    along = (y - 4) / 84**2
    up = (z - 10) / 52**2
    length = np.sqrt(across**2 + along**2 + up**2) + 1e-6
    weight = 0.13 * np.ones_like(length)
    return weight, (across / length, along / length, up / length)
