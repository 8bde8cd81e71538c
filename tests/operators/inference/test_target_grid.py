"""The grid of the result: where its voxels lie, and what training did not cover."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from operators.inference.target_grid import is_coarser, resolution_along, target_grid
from operators.vocabulary.refusal import Refusal

AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
SAGITTAL = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)


def grid(spacing, shape=(20, 60, 50), directions=AXIAL, turn=None) -> hd.VolumeGeometry:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    if turn is not None:
        affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = -40, 13, 7
    return hd.VolumeGeometry(affine, shape, "PATIENT", frame_of_reference_uid="1.2.3")


@pytest.mark.parametrize("shape", [(20, 60, 50), (21, 61, 51), (9, 40, 41)])
@pytest.mark.parametrize("turn", [None, (17, -24, 11)])
def test_the_middle_sample_of_both_grids_is_at_one_place(shape, turn):
    maps = grid((3, 3, 3), shape, turn=turn)
    found = target_grid(maps, [grid((1, 1, 1), (90, 200, 200), SAGITTAL, turn)]).geometry
    assert found.spatial_shape == tuple(3 * n for n in shape)
    middle = [n // 2 for n in shape]
    finer = [n // 2 for n in found.spatial_shape]
    np.testing.assert_allclose(maps.affine @ [*middle, 1], found.affine @ [*finer, 1], atol=1e-9)
    np.testing.assert_allclose(found.direction, maps.direction, atol=1e-12)
    extent = np.array(found.spacing) * found.spatial_shape
    np.testing.assert_allclose(extent, np.array(maps.spacing) * maps.spatial_shape)
    assert found.frame_of_reference_uid == "1.2.3"


def test_the_coarsest_guide_decides_along_each_axis():
    found = target_grid(
        grid((4, 2, 2)), [grid((4, 0.5, 0.5)), grid((1, 1, 1), directions=SAGITTAL)]
    )
    np.testing.assert_allclose(found.geometry.spacing, (4, 1, 1))
    assert found.slice_axis == 0
    assert found.findings == ()


def test_the_axis_that_is_not_sharpened_is_that_of_the_slices():
    found = target_grid(grid((2, 4, 2)), [grid((1, 4, 1))])
    assert found.slice_axis == 1


def test_more_than_four_times_is_limited_and_told():
    found = target_grid(grid((3, 3, 3)), [grid((3, 0.5, 0.5))])
    np.testing.assert_allclose(found.geometry.spacing, (3, 0.75, 0.75))
    assert [one.code for one in found.findings] == ["guide-finer-than-trained"]


@pytest.mark.parametrize("spacing", [(6, 6, 6), (1, 1, 1)])
def test_voxels_of_which_training_saw_none_are_flagged(spacing):
    found = target_grid(grid(spacing), [grid(np.array(spacing) / 2.2)])
    assert [one.code for one in found.findings] == ["voxel-size-outside-training"]


@pytest.mark.parametrize("guide", [(2, 1.5, 1.5), (2, 2, 0.5), (0.5, 2, 2)])
def test_guides_that_are_finer_by_too_little_or_along_one_axis(guide):
    with pytest.raises(Refusal) as refused:
        target_grid(grid((2, 2, 2)), [grid(guide)])
    assert refused.value.rule == "factor-outside-training"


@pytest.mark.parametrize(
    ("guide", "coarser"),
    [((4, 1, 1), True), ((3, 1, 1), False), ((1, 1, 1), False), ((3, 3, 3), True)],
)
def test_a_guide_may_be_nowhere_coarser_than_the_maps(guide, coarser):
    assert is_coarser(grid((3, 3, 3)), grid(guide)) is coarser


def test_resolution_is_that_along_the_axes_of_the_other_grid():
    np.testing.assert_allclose(
        resolution_along(grid((1, 1, 1)), grid((5, 1, 2), directions=SAGITTAL)), (1, 2, 5)
    )
