"""The plane about which a brain is most nearly its own mirror image.

Found by maximising the correlation of an image with its mirror image over offset and tilt of the
plane, from the plane across the patient's left-right axis through the middle of the brain (after
Ardekani, Kershaw, Braun, Kanno, IEEE Trans. Med. Imaging 16:947 (1997), doi 10.1109/42.650892).

Limits: left and right are those of the patient frame that the images state. A brain is curved and
never quite symmetric, so the mirrored place of a voxel is its counterpart to some millimetres
only, and a large lesion or a displaced midline pulls the plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from scipy import ndimage, optimize

#: Correlation with the mirror image below which no plane is claimed.
LEAST_SYMMETRY = 0.5
#: Width of the brain across the plane below which no plane is claimed, mm: half a head has none.
LEAST_WIDTH = 60.0
#: The plane is searched for up to this tilt, degrees.
LARGEST_TILT = 25.0
_SMOOTHING = 4.0
_MOST_POINTS = 12_000
_FIRST_STEP = np.array([6.0, 5.0, 5.0])
# What the correlation must gain to tilt the plane by 10 degrees: holds it where a few slices say
# nothing of it.
_PRICE_OF_TILT = 0.002


@dataclass(frozen=True)
class MidsagittalPlane:
    """A plane between the halves of a brain.

    Attributes:
        point: (3,) a point on it, mm, LPS.
        normal: (3,) unit vector across it, to the patient's left.
        symmetry: correlation of the image with its mirror image, at most 1.
    """

    point: np.ndarray
    normal: np.ndarray
    symmetry: float

    @property
    def tilt(self) -> float:
        """Angle between its normal and the left-right axis of the patient frame, degrees."""
        return float(np.degrees(np.arccos(np.clip(self.normal[0], -1, 1))))

    def mirror(self, points: np.ndarray) -> np.ndarray:
        """The places across the plane of (points, 3) mm, LPS."""
        return points - 2 * ((points - self.point) @ self.normal)[:, None] * self.normal

    def left_of(self, geometry: hd.VolumeGeometry) -> np.ndarray:
        """Voxels on the patient's left of it; boolean (slices, rows, columns)."""
        indices = np.indices(geometry.spatial_shape).reshape(3, -1).T
        distance = (geometry.map_indices_to_reference(indices) - self.point) @ self.normal
        return (distance > 0).reshape(geometry.spatial_shape)

    def mirrored(self, mask: np.ndarray, geometry: hd.VolumeGeometry) -> np.ndarray:
        """The counterpart of a region on the other side, by the nearest voxel.

        Args:
            mask: boolean (slices, rows, columns).
            geometry: its grid, at any angle to the plane.

        Returns:
            Boolean, same shape; what falls outside the grid is lost.
        """
        indices = np.indices(geometry.spatial_shape).reshape(3, -1).T
        positions = geometry.map_indices_to_reference(indices)
        back = geometry.map_reference_to_indices(self.mirror(positions))
        values = ndimage.map_coordinates(
            np.asarray(mask, np.uint8), back.T, order=0, mode="constant", cval=0
        )
        return values.reshape(geometry.spatial_shape) > 0


def midsagittal_plane(
    image: np.ndarray, brain: np.ndarray, geometry: hd.VolumeGeometry
) -> MidsagittalPlane | None:
    """The plane of a brain, or None where none can be told.

    Args:
        image: (slices, rows, columns), finite; any contrast in which both halves are alike.
        brain: boolean, same shape.
        geometry: grid of both.

    Returns:
        None where the brain is narrower than 60 mm across, its halves are not alike, or the
        best plane lies at the bound of the search.
    """
    places = np.argwhere(brain)
    if not len(places):
        return None
    positions = geometry.map_indices_to_reference(places)
    width = float(np.ptp(positions[:, 0]))
    if width < LEAST_WIDTH:
        return None
    sigmas = [_SMOOTHING / spacing for spacing in geometry.spacing]
    inside = np.where(brain, image, 0).astype(np.float32)
    smooth = ndimage.gaussian_filter(inside / max(float(inside.max()), 1e-30), sigmas)
    step = max(1, len(places) // _MOST_POINTS)
    places, positions = places[::step], positions[::step]
    values = smooth[tuple(places.T)]
    centre = positions.mean(axis=0)

    def symmetry(parameters: np.ndarray) -> float:
        normal = _normal(parameters[1:])
        plane = MidsagittalPlane(centre + parameters[0] * normal, normal, 0.0)
        indices = geometry.map_reference_to_indices(plane.mirror(positions)).T
        # Beyond the outermost slices the head goes on.
        found = ndimage.map_coordinates(smooth, indices, order=1, mode="nearest")
        spread = float(found.std() * values.std())
        if spread == 0:
            return 0.0
        return float(((found - found.mean()) * (values - values.mean())).mean() / spread)

    def price(parameters: np.ndarray) -> float:
        tilts = parameters[1:]
        if np.abs(tilts).max() > LARGEST_TILT:
            return 2.0
        return _PRICE_OF_TILT * float((tilts / 10) @ (tilts / 10)) - symmetry(parameters)

    start = np.zeros(3)
    found = optimize.minimize(
        price,
        start,
        method="Nelder-Mead",
        options={
            "initial_simplex": np.vstack((start, np.diag(_FIRST_STEP))),
            "xatol": 0.05,
            "fatol": 1e-5,
            "maxfev": 300,
        },
    )
    best = symmetry(found.x)
    if best < LEAST_SYMMETRY or np.abs(found.x[1:]).max() > LARGEST_TILT - 1:
        return None
    normal = _normal(found.x[1:])
    return MidsagittalPlane(centre + found.x[0] * normal, normal, best)


def _normal(tilts: np.ndarray) -> np.ndarray:
    """Unit vector to the left, turned about the head-feet and the front-back axis (degrees)."""
    yaw, roll = np.radians(tilts)
    return np.array(
        [np.cos(yaw) * np.cos(roll), np.sin(yaw) * np.cos(roll), np.sin(roll)], dtype=np.float64
    )
