"""Rigid registration finds the motion that was made, and the same one each time."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from operators.inference.registration import align, image_of, place

SHAPE = (16, 48, 48)
SPACING = (4.0, 3.0, 3.0)


def grid(spacing=SPACING, shape=SHAPE, origin=(-60.0, -70.0, -20.0)) -> hd.VolumeGeometry:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, spacing[2]], [0, spacing[1], 0], [spacing[0], 0, 0]])
    affine[:3, 3] = origin
    return hd.VolumeGeometry(affine, shape, "PATIENT", frame_of_reference_uid="1.2.3")


@pytest.fixture(scope="module")
def head() -> tuple[np.ndarray, np.ndarray]:
    """An asymmetric head: (image, mask)."""
    random = np.random.default_rng(2)
    z, y, x = np.indices(SHAPE)
    mask = ((z - 8) / 7) ** 2 + ((y - 24) / 20) ** 2 + ((x - 23) / 16) ** 2 < 1
    texture = ndimage.gaussian_filter(random.standard_normal(SHAPE), 1.5)
    return (1 + 2 * texture / texture.std()) * mask + mask, mask


def moved(image: np.ndarray, angle: float, shift: tuple[float, float, float]) -> np.ndarray:
    transform = sitk.Euler3DTransform()
    geometry = grid()
    centre = geometry.affine[:3, :3] @ (np.array(SHAPE) / 2) + geometry.affine[:3, 3]
    transform.SetCenter(centre.tolist())
    transform.SetRotation(0, 0, np.radians(angle))
    transform.SetTranslation(shift)
    source = image_of(image, geometry)
    return sitk.GetArrayFromImage(
        sitk.Resample(source, source, transform.GetInverse(), sitk.sitkLinear)
    )


@pytest.mark.parametrize(
    ("angle", "shift"), [(0, (0.0, 0.0, 0.0)), (2, (1.5, -2.0, 0.0)), (-3, (0.0, 4.0, 3.0))]
)
def test_a_known_motion_is_found(head, angle, shift):
    image, mask = head
    # Another contrast: dark where the maps' image is bright.
    guide = moved((5 - image) * mask, angle, shift)
    found = align(image, mask, grid(), guide, grid())
    assert found.shift == pytest.approx(np.linalg.norm(shift), abs=0.5)
    assert found.rotation == pytest.approx(abs(angle), abs=0.5)
    assert found.is_identity == (shift == (0.0, 0.0, 0.0))


def test_the_same_images_give_the_same_motion(head):
    image, mask = head
    guide = moved(image, 1.5, (2.0, 0.0, 1.0))
    first, second = (align(image, mask, grid(), guide, grid()) for _ in range(2))
    assert first.transform.GetParameters() == second.transform.GetParameters()


def test_a_thin_volume_is_not_registered(head):
    image, mask = head
    found = align(image[:6], mask[:6], grid(shape=(6, 48, 48)), image, grid())
    assert not found.registered
    assert found.is_identity


def test_a_guide_on_the_grid_of_the_result_is_not_interpolated(head):
    image, mask = head
    still = align(image, mask, grid(), image, grid())
    placed = place(image.astype(np.float32), grid(), grid(), still)
    assert not placed.interpolated
    np.testing.assert_array_equal(placed.values, image.astype(np.float32))


def test_a_finer_guide_is_smoothed_to_the_voxels_of_the_result(head):
    image, mask = head
    fine = np.repeat(np.repeat(image, 2, 1), 2, 2)
    random = np.random.default_rng(0)
    noisy = fine + random.normal(0, 0.5, fine.shape)
    geometry = grid((4.0, 1.5, 1.5), fine.shape, (-60.75, -70.75, -20.0))
    still = align(image, mask, grid(), image, grid())
    placed = place(noisy.astype(np.float32), geometry, grid(), still)
    inner = ndimage.binary_erosion(mask, iterations=2)
    assert (placed.values - image)[inner].std() < 0.5


def test_what_the_guide_does_not_show_is_not_covered(head):
    image, mask = head
    still = align(image, mask, grid(), image, grid())
    part = grid(shape=(8, 48, 48))
    placed = place(image[:8].astype(np.float32), part, grid(), still)
    assert placed.covered[:8].all()
    assert not placed.covered[9:].any()
    assert (placed.values[9:] == 0).all()
