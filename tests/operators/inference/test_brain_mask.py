"""Masks of simple bodies, and of a real head against the mask that came with it."""

import numpy as np
import pytest

from operators.inference.brain_mask import brain_mask, foreground_mask, otsu_threshold

SPACING = (3.0, 2.0, 2.0)


def ball(radius: float, centre: tuple[float, float, float] = (45, 60, 60)) -> np.ndarray:
    grid = np.meshgrid(
        *(np.arange(n) * s for n, s in zip((30, 60, 60), SPACING, strict=True)), indexing="ij"
    )
    return sum((axis - place) ** 2 for axis, place in zip(grid, centre, strict=True)) <= radius**2


@pytest.fixture
def head() -> np.ndarray:
    """A bright ball in a dimmer shell, joined by a thin bridge; dark hole inside; noise."""
    image = np.random.default_rng(2).rayleigh(5, size=(30, 60, 60))
    shell = ball(52) & ~ball(46)
    bridge = np.zeros_like(shell)
    bridge[15, 30, 30:] = ball(52)[15, 30, 30:]
    image[shell | bridge] += 250
    image[ball(36)] = 400 + image[ball(36)]
    image[ball(6)] = 10
    return image


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_brain_is_the_bright_body_without_what_hangs_on_it(head):
    mask = brain_mask(head, SPACING)
    assert dice(mask, ball(36)) > 0.93
    assert not (mask & ~ball(44)).any()
    assert mask[15, 30, 30], "holes are filled"


def test_the_foreground_holds_all_that_is_bright(head):
    mask = foreground_mask(head)
    assert mask[ball(52) & ~ball(46)].mean() > 0.99
    assert mask[~ball(54)].mean() < 0.01


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e5])
def test_brightness_does_not_matter(head, factor):
    assert np.array_equal(brain_mask(head, SPACING), brain_mask(head * factor, SPACING))


def test_a_constant_image_has_no_brain():
    assert not brain_mask(np.ones((4, 8, 8)), SPACING).any()


def test_a_single_slice_is_enough(head):
    mask = brain_mask(head[15:16], SPACING)
    assert dice(mask, ball(36)[15:16]) > 0.9


def test_otsu_separates_two_classes():
    values = np.r_[
        np.random.default_rng(3).normal(10, 2, 5000), np.random.default_rng(4).normal(50, 4, 2000)
    ]
    assert 20 < otsu_threshold(values) < 40


def test_a_real_head_has_the_brain_of_its_mask(shared_data):
    nibabel = pytest.importorskip("nibabel")
    folder = shared_data("dwi_multishell_human")
    name = "b1k_b2k_example_slices_24_38"
    image = nibabel.load(folder / f"{name}.nii.gz").dataobj[..., 0].T
    mask = nibabel.load(folder / f"{name}_mask.nii.gz").get_fdata().T > 0
    assert dice(brain_mask(np.asarray(image, np.float32), (2.0, 2.0, 2.0)), mask) > 0.93
