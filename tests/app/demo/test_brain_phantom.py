"""The phantom has the size, the values and the directions of a brain, and is always the same."""

from __future__ import annotations

import numpy as np
import pytest

from app.demo.brain_phantom import SHAPE, SPACING, TISSUES, BrainPhantom, brain_phantom


@pytest.fixture(scope="module")
def phantom() -> BrainPhantom:
    return brain_phantom()


def voxel(phantom: BrainPhantom, x: float, y: float, z: float) -> tuple[int, ...]:
    """Index of the voxel at LPS (x, y, z) mm."""
    index = np.linalg.solve(phantom.affine, [x, y, z, 1.0])[:3]
    return tuple(np.rint(index).astype(int))


def principal_direction(phantom: BrainPhantom, x: float, y: float, z: float) -> np.ndarray:
    xx, yy, zz, xy, xz, yz = phantom.tensor("white matter")[voxel(phantom, x, y, z)]
    matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return np.abs(np.linalg.eigh(matrix)[1][:, 2])


def test_every_voxel_is_filled_once_or_air(phantom):
    total = np.sum(list(phantom.shares.values()), axis=0)
    assert total.max() <= 1 + 1e-5
    assert all(share.min() >= 0 for share in phantom.shares.values())
    assert phantom.shares["white matter"].shape == SHAPE


def test_the_brain_has_the_volume_of_a_brain(phantom):
    litre = phantom.brain.sum() * np.prod(SPACING) / 1e6
    assert 1.1 < litre < 2.0
    white, grey = (phantom.shares[name].sum() for name in ("white matter", "cortex"))
    assert 0.5 < white / grey < 2


def test_the_lesion_is_on_the_left(phantom):
    weights = phantom.shares["lesion"]
    x = (np.indices(SHAPE)[2] * weights).sum() / weights.sum()
    assert phantom.affine[0, 2] * x + phantom.affine[0, 3] > 15  # LPS: x grows to the left


@pytest.mark.parametrize(
    ("place", "axis"),
    [((0, -36, 14), 0), ((20, 8, 8), 2), ((7, -8, 36), 1)],
    ids=["corpus callosum", "corticospinal tract", "cingulum"],
)
def test_tracts_run_where_they_do_in_a_brain(phantom, place, axis):
    for x in (place[0], -place[0]):
        direction = principal_direction(phantom, x, *place[1:])
        assert direction.argmax() == axis, direction


def test_tensors_are_positive_and_keep_the_diffusivity_of_the_tissue(phantom):
    for tissue in ("white matter", "cortex", "cerebrospinal fluid"):
        elements = phantom.tensor(tissue)[phantom.shares[tissue] > 0]
        matrices = elements[:, [0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(-1, 3, 3)
        assert np.linalg.eigvalsh(matrices).min() > 0
        mean = elements[:, :3].mean(axis=1)
        expected = phantom.values(tissue, "diffusivity")[phantom.shares[tissue] > 0]
        np.testing.assert_allclose(mean, expected, rtol=1e-4)


def test_maps_hold_the_values_of_pure_tissue(phantom):
    for name, tissue in TISSUES.items():
        pure = phantom.shares[name] > 0.999
        if pure.any():
            t1 = phantom.map("t1")[pure]
            np.testing.assert_allclose(t1 / tissue.t1, phantom.variation["relaxation"][pure], 1e-4)


def test_the_same_seed_gives_the_same_brain_and_another_seed_other_folds(phantom):
    again, other = brain_phantom(), brain_phantom(seed=1)
    assert np.array_equal(again.shares["cortex"], phantom.shares["cortex"])
    assert not np.array_equal(other.shares["cortex"], phantom.shares["cortex"])
