"""Fields of directions whose tracks are known: bundles along a half circle, whole or cut."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np

FRAME = "2.25.4000000000000000000000000000000000009"
INSIDE, OUTSIDE = 0.7, 0.05
"""FA of the bundle and of what is around it."""


@dataclass(frozen=True)
class Bundle:
    """A bundle along half a circle in the plane that its grid is turned into.

    Attributes:
        principal: (slices, rows, columns, 3) unit vectors, LPS, of random sign.
        anisotropy: (slices, rows, columns).
        geometry: grid of both, turned by ``rotation`` about the origin.
        radius: of the circle around the origin, mm.
    """

    principal: np.ndarray
    anisotropy: np.ndarray
    geometry: hd.VolumeGeometry
    radius: float

    @property
    def inside(self) -> np.ndarray:
        return np.ones(self.anisotropy.shape, bool)


def half_circle(
    rotation: np.ndarray | None = None,
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    radius: float = 25.0,
    thickness: float = 5.0,
    gap: float = 0.0,
) -> Bundle:
    """A bundle from the patient's left over the front to the right, before it is turned.

    Args:
        rotation: (3, 3) turns the whole: grid, bundle and directions.
        spacing: mm between slices, rows and columns.
        radius: of the circle, mm.
        thickness: radius of the bundle, mm.
        gap: mm in the middle without a bundle.
    """
    turned = np.eye(3) if rotation is None else rotation
    sides = np.array([2 * thickness + 8, 2 * (radius + thickness) + 8, 2 * (radius + thickness)])
    shape = tuple(int(side / step) for side, step in zip(sides, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * np.array(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    places = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    around = np.hypot(places[:, 0], places[:, 1])
    bundle = (np.hypot(around - radius, places[:, 2]) < thickness) & (places[:, 1] < 4)
    bundle &= np.abs(places[:, 0]) >= gap / 2
    tangent = np.stack((-places[:, 1], places[:, 0], np.zeros(len(places))), axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    tangent *= np.random.default_rng(3).choice([-1.0, 1.0], len(places))[:, None]
    affine[:3] = turned @ affine[:3]
    return Bundle(
        principal=(tangent @ turned.T).reshape(*shape, 3).astype(np.float32),
        anisotropy=np.where(bundle, INSIDE, OUTSIDE).reshape(shape).astype(np.float32),
        geometry=hd.VolumeGeometry(affine, shape, "PATIENT", frame_of_reference_uid=FRAME),
        radius=radius,
    )
