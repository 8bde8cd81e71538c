"""Bad volumes and slices stand out; noise does not."""

import numpy as np
import pytest

from operators.inference.outlier_volumes import outlier_slices, outlier_volumes

SHELLS = np.repeat([0, 1, 2], [2, 20, 30])
VOXELS = np.full(40, 900)


@pytest.fixture
def deviation() -> np.ndarray:
    scatter = np.random.default_rng(5).normal(0, 0.15, size=(40, 52))
    return np.exp(scatter) * np.repeat([9.0, 5.0, 3.0], [2, 20, 30])


@pytest.fixture
def bias() -> np.ndarray:
    return np.random.default_rng(6).normal(0, 0.01, size=(40, 52))


def test_noise_alone_has_no_outliers(deviation, bias):
    assert not len(outlier_volumes(deviation, VOXELS, SHELLS))
    assert not outlier_slices(bias, VOXELS, SHELLS).any()


def test_a_volume_that_moved_is_found(deviation):
    deviation[:, 7] *= 3
    assert outlier_volumes(deviation, VOXELS, SHELLS).tolist() == [7]


def test_several_slices_do_not_make_a_volume(deviation):
    deviation[:10, 7] *= 3
    assert not len(outlier_volumes(deviation, VOXELS, SHELLS))


@pytest.mark.parametrize("change", [-0.5, 0.5])
def test_a_slice_that_lost_or_gained_signal_is_found_alone(bias, change):
    bias[12, :] -= 0.2 * change  # the bad volume pushes the others off the fit
    bias[12, 30] += 1.2 * change
    assert np.argwhere(outlier_slices(bias, VOXELS, SHELLS)).tolist() == [[12, 30]]


def test_small_shells_and_small_slices_are_not_judged(deviation, bias):
    deviation[:, 0] *= 10
    bias[:, 1] = 0.9
    bias[3, 25] = -0.9
    few = np.where(np.arange(40) == 3, 20, VOXELS)
    assert not len(outlier_volumes(deviation, few, SHELLS))
    assert not outlier_slices(bias, few, SHELLS).any()


def test_perfect_and_empty_slices_are_left_out(deviation, bias):
    deviation[0] = 0
    bias[0] = np.nan
    assert not len(outlier_volumes(deviation, VOXELS, SHELLS))
    assert not outlier_slices(bias, VOXELS, SHELLS).any()
    assert not len(outlier_volumes(deviation, 0 * VOXELS, SHELLS))
    assert not outlier_slices(bias, 0 * VOXELS, SHELLS).any()
