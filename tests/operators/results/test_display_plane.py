from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from made_results import DIRECTIONS, FRAME_OF_REFERENCE_UID
from scipy.ndimage import center_of_mass

from operators.results.display_plane import display_plane

# A head of 64 mm with a spot in its left, anterior, upper part; LPS mm.
SPOT = np.array([18.0, -12.0, 3.0])
SIDE = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


def head(orientation: str, shape: tuple[int, int, int] = (32, 40, 36)) -> hd.Volume:
    """A ball of value 1 with a spot of value 2, on a grid of unequal spacing."""
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[orientation] @ np.diag([2.0, 1.6, 1.8])
    middle = (np.array(shape) - 1) / 2
    affine[:3, 3] = -affine[:3, :3] @ middle
    geometry = hd.VolumeGeometry(affine, shape, "PATIENT", FRAME_OF_REFERENCE_UID)
    indices = np.indices(shape).reshape(3, -1)
    position = affine[:3, :3] @ indices + affine[:3, 3:]
    ball = np.linalg.norm(position, axis=0) < 28
    spot = np.linalg.norm(position - SPOT[:, None], axis=0) < 6
    return geometry.with_array((ball.astype(float) + (ball & spot)).reshape(shape))


@pytest.mark.parametrize("orientation", ["axial", "descending", "sagittal", "coronal", "oblique"])
def test_axial_and_radiological_whatever_the_acquisition(orientation: str) -> None:
    volume = head(orientation)
    plane = display_plane(volume.with_array(volume.array > 0), 1)
    assert (plane.name, plane.left, plane.right) == ("axial", "R", "L")
    (picture,) = plane.pictures(volume)
    row, column = center_of_mass(picture == 2)
    height, width = picture.shape
    assert column > width / 2  # the patient's left is on the image's right
    assert row < height / 2  # the front is on top


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "coronal"])
def test_a_ball_is_round_when_pixels_have_their_aspect(orientation: str) -> None:
    volume = head(orientation)
    plane = display_plane(volume.with_array(volume.array > 0), 1)
    (picture,) = plane.pictures(volume)
    rows, columns = np.nonzero(picture)
    ratio = np.ptp(rows) * plane.pixel_aspect / np.ptp(columns)
    assert ratio == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize(
    ("orientation", "name", "sides"),
    [("axial", "axial", "RL"), ("sagittal", "sagittal", "AP"), ("coronal", "coronal", "RL")],
)
def test_a_single_slice_is_shown_as_acquired(orientation: str, name: str, sides: str) -> None:
    volume = head(orientation)[15:16]
    plane = display_plane(volume.with_array(volume.array > 0), 3)
    assert plane.name == name
    assert plane.left + plane.right == sides
    assert plane.slices == (0,)
    (picture,) = plane.pictures(volume)
    assert min(picture.shape) >= 30


def test_slices_are_central_and_distinct() -> None:
    volume = head("axial")
    analysed = volume.with_array(volume.array > 0)
    middle = display_plane(analysed, 1).slices
    three = display_plane(analysed, 3).slices
    assert abs(middle[0] - 15.5) <= 1
    assert len(set(three)) == 3
    assert abs(three[1] - middle[0]) <= 1
    occupied = np.flatnonzero(volume.array.any(axis=(1, 2)))
    assert occupied[0] < three[0] < three[2] < occupied[-1]


def test_an_empty_map_is_shown_whole() -> None:
    volume = head("axial")
    plane = display_plane(volume.with_array(np.zeros(volume.shape, bool)), 1)
    (picture,) = plane.pictures(volume)
    assert picture.shape == volume.spatial_shape[1:]
