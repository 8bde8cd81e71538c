"""Maps on other grids: exact where grids agree, by physical coordinates where they do not."""

import highdicom as hd
import numpy as np
import pytest

from operators.inference.resample import resample, same_grid
from operators.vocabulary.refusal import Refusal

FRAME = "1.2.3.4"


def grid(
    shape: tuple[int, int, int] = (6, 20, 24),
    spacing: tuple[float, float, float] = (4.0, 2.0, 2.0),
    position: tuple[float, float, float] = (-20.0, -30.0, 5.0),
    frame: str | None = FRAME,
    angle: float = 0.0,
) -> hd.VolumeGeometry:
    """Axial slices from feet to head, turned about the left-right axis by ``angle`` degrees."""
    turn = np.radians(angle)
    columns, rows = np.array([1.0, 0, 0]), np.array([0, np.cos(turn), np.sin(turn)])
    axes = np.stack((np.cross(columns, rows), rows, columns), axis=1)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = position
    return hd.VolumeGeometry(affine, shape, "PATIENT", frame_of_reference_uid=frame)


def places(geometry: hd.VolumeGeometry) -> np.ndarray:
    """(slices, rows, columns, 3) patient coordinates of the voxel centres, mm."""
    indices = np.stack(np.indices(geometry.spatial_shape), axis=-1)
    return indices @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]


def ramp(geometry: hd.VolumeGeometry) -> np.ndarray:
    """A value that is linear in patient coordinates."""
    return 500 + places(geometry) @ np.array([3.0, -2.0, 5.0])


def everywhere(geometry: hd.VolumeGeometry) -> np.ndarray:
    return np.ones(geometry.spatial_shape, dtype=bool)


def test_one_grid_gives_the_same_values_bit_by_bit():
    geometry = grid(angle=13)
    values = np.random.default_rng(1).uniform(0, 3000, geometry.spatial_shape).astype(np.float32)
    again = grid(angle=13.0001)
    placed = resample(values, everywhere(geometry), geometry, again)
    assert not placed.interpolated
    assert np.array_equal(placed.values, values)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(grid(angle=20, position=(-15, -20, 8), shape=(4, 12, 14)), id="oblique"),
        pytest.param(grid(spacing=(2, 1, 1), shape=(10, 30, 40)), id="finer"),
        pytest.param(grid(position=(-19.3, -30, 5), shape=(6, 20, 23)), id="shifted"),
    ],
)
def test_a_linear_map_stays_linear_in_the_patient(target):
    source = grid()
    placed = resample(ramp(source), everywhere(source), source, target)
    assert placed.interpolated
    index = (
        np.linalg.inv(source.affine)
        @ np.c_[places(target).reshape(-1, 3), np.ones(np.prod(target.spatial_shape))].T
    )
    last = np.array(source.spatial_shape)[:, None] - 1
    inside = ((index[:3] >= 0) & (index[:3] <= last)).all(axis=0).reshape(target.spatial_shape)
    assert inside.sum() > 100
    assert placed.known[inside].all()
    assert np.allclose(placed.values[inside], ramp(target)[inside], rtol=1e-5)


def test_reversed_slices_are_the_same_map():
    source = grid()
    affine = source.affine.copy()
    affine[:3, 3] = source.affine[:3, 3] + 5 * affine[:3, 0]
    affine[:3, 0] *= -1
    target = hd.VolumeGeometry(
        affine, source.spatial_shape, "PATIENT", frame_of_reference_uid=FRAME
    )
    values = np.random.default_rng(2).uniform(0, 100, source.spatial_shape)
    placed = resample(values, everywhere(source), source, target)
    assert np.allclose(placed.values, values[::-1], rtol=1e-5)


def test_unknown_voxels_do_not_pull_their_neighbours_down():
    source = grid()
    values = np.full(source.spatial_shape, 1000.0)
    values[:, :, 12:] = 0
    placed = resample(values, values > 0, source, grid(position=(-19.2, -30, 5)))
    assert np.allclose(placed.values[placed.known], 1000)
    assert placed.known[:, :, :12].all()
    assert not placed.known[:, :, 13:].any()
    assert not placed.values[~placed.known].any()


def test_what_the_map_does_not_cover_is_unknown():
    source, target = grid(), grid(shape=(12, 20, 24))
    placed = resample(ramp(source), everywhere(source), source, target)
    assert placed.known[:6].all()
    assert not placed.known[6:].any()


def test_a_single_slice_reaches_half_its_thickness():
    source = grid(shape=(1, 20, 24))
    near, far = (
        grid(shape=(1, 20, 24), position=(-20, -30, 6.5)),
        grid(shape=(1, 20, 24), position=(-20, -30, 8)),
    )
    values = np.full(source.spatial_shape, 7.0)
    assert resample(values, everywhere(source), source, near).known.all()
    assert not resample(values, everywhere(source), source, far).known.any()


@pytest.mark.parametrize("frame", [None, "1.2.3.5"])
def test_another_frame_of_reference_is_refused(frame):
    source = grid(frame=frame)
    with pytest.raises(Refusal) as refused:
        resample(ramp(source), everywhere(source), source, grid())
    assert refused.value.rule == "frame-of-reference-differs"


def test_grids_that_differ_by_a_hundredth_of_a_voxel_differ():
    assert same_grid(grid(), grid(position=(-20.01, -30, 5)))
    assert not same_grid(grid(), grid(position=(-20.03, -30, 5)))
    assert not same_grid(grid(), grid(shape=(6, 20, 23)))
