"""The plane of symmetry of a head, however it lies in the images."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from operators.inference.midsagittal_plane import midsagittal_plane

AXES = {
    "axial": np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float),
    "axial, columns to the right": np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], float),
    "sagittal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
    "coronal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float),
}
SPACING = 4.0


def geometry_of(axes: np.ndarray, length: int = 52) -> hd.VolumeGeometry:
    affine = np.eye(4)
    affine[:3, :3] = axes * SPACING
    middle = np.array([7.0, -12.0, 30.0])
    affine[:3, 3] = middle - affine[:3, :3] @ np.full(3, (length - 1) / 2)
    return hd.VolumeGeometry(
        affine, (length,) * 3, "PATIENT", frame_of_reference_uid="1.2.826.0.1.3680043.8.498.1"
    )


def head(
    geometry: hd.VolumeGeometry, turn: Rotation, shift: np.ndarray, lesion: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A head with ventricles, symmetric about its own plane x = 0, turned and moved."""
    indices = np.indices(geometry.spatial_shape).reshape(3, -1).T
    x, y, z = turn.inv().apply(geometry.map_indices_to_reference(indices) - shift).T
    brain = (x / 65) ** 2 + (y / 85) ** 2 + (z / 60) ** 2 < 1
    image = 1 + 0.3 * np.cos(y / 15) + 0.2 * np.cos(z / 12)
    image += 1.5 * np.exp(-((np.abs(x) - 12) ** 2) / 40 - (y / 30) ** 2 - (z / 20) ** 2)
    if lesion:
        image += 1.0 * ((x - 35) ** 2 + (y + 10) ** 2 + z**2 < 12**2)
    shape = geometry.spatial_shape
    return (image * brain).reshape(shape), brain.reshape(shape)


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
@pytest.mark.parametrize("lesion", [False, True])
def test_the_plane_of_a_turned_head_is_found_in_every_orientation(axes, lesion):
    geometry = geometry_of(axes)
    turn = Rotation.from_euler("zy", [9, -6], degrees=True)
    shift = np.array([11.0, -8.0, 26.0])
    image, brain = head(geometry, turn, shift, lesion)
    plane = midsagittal_plane(image, brain, geometry)
    assert plane is not None
    normal = turn.apply([1.0, 0, 0])
    assert np.degrees(np.arccos(plane.normal @ normal)) < 2
    assert abs((plane.point - shift) @ normal) < 2
    assert plane.symmetry > 0.9


def test_left_is_the_patient_s_left_whatever_the_order_of_columns():
    for axes in AXES.values():
        geometry = geometry_of(axes)
        image, brain = head(geometry, Rotation.identity(), np.zeros(3))
        plane = midsagittal_plane(image, brain, geometry)
        assert plane is not None
        left = plane.left_of(geometry)
        positions = geometry.map_indices_to_reference(np.argwhere(left & brain))
        assert positions[:, 0].mean() > 20  # L is positive in LPS
        assert abs(left[brain].mean() - 0.5) < 0.03


def test_the_counterpart_of_a_region_lies_across_and_its_counterpart_is_the_region():
    geometry = geometry_of(AXES["axial"])
    turn = Rotation.from_euler("z", 8, degrees=True)
    image, brain = head(geometry, turn, np.array([5.0, 0, 30]))
    plane = midsagittal_plane(image, brain, geometry)
    assert plane is not None
    indices = np.indices(geometry.spatial_shape).reshape(3, -1).T
    inside = np.linalg.norm(
        turn.inv().apply(geometry.map_indices_to_reference(indices) - [5.0, 0, 30]) - [30, 10, 0],
        axis=1,
    )
    region = (inside < 14).reshape(geometry.spatial_shape)
    other = plane.mirrored(region, geometry)
    assert not (other & region).any()
    assert (other & ~plane.left_of(geometry)).sum() == other.sum()
    assert other.sum() == pytest.approx(region.sum(), rel=0.05)
    back = plane.mirrored(other, geometry)
    assert 2 * (back & region).sum() / (back.sum() + region.sum()) > 0.85


def test_no_plane_is_claimed_where_there_is_none():
    geometry = geometry_of(AXES["axial"])
    image, brain = head(geometry, Rotation.identity(), np.zeros(3))
    positions = geometry.map_indices_to_reference(
        np.indices(geometry.spatial_shape).reshape(3, -1).T
    )
    half = brain & (positions[:, 0] > 5).reshape(geometry.spatial_shape)
    assert midsagittal_plane(image, half, geometry) is None
    assert midsagittal_plane(image, np.zeros_like(brain), geometry) is None
    noise = np.random.default_rng(0).normal(size=brain.shape)
    assert midsagittal_plane(noise, np.ones_like(brain), geometry) is None
