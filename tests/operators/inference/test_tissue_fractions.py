"""Partial volumes: pure voxels are pure, mixed ones in proportion, and all of it adds up."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest

from models.superres.partial_volume import averaging_signals, maps_of_averages
from operators.inference.tissue_fractions import TISSUES, brain_tissues, tissue_fractions

SHAPE = (4, 30, 30)
TYPICAL = np.array([tissue.typical for tissue in TISSUES], np.float32)
GRID = hd.VolumeGeometry(
    np.diag([2.0, 1.0, 1.0, 1.0]), SHAPE, "PATIENT", frame_of_reference_uid="1.2.3"
)


def maps_of(shares: np.ndarray, values: np.ndarray = TYPICAL) -> np.ndarray:
    """Maps of mixed voxels: their tissues' signals add up."""
    signals = averaging_signals(values.T)
    return maps_of_averages(np.einsum("pt,tzyx->pzyx", signals, shares))


@pytest.fixture
def shares() -> np.ndarray:
    """White matter, grey matter and fluid side by side, mixed at the borders."""
    found = np.zeros((3, *SHAPE), np.float32)
    found[0, :, :, :10] = found[1, :, :, 11:20] = found[2, :, :, 21:] = 1
    found[0, :, :, 10], found[1, :, :, 10] = 0.3, 0.7
    found[1, :, :, 20], found[2, :, :, 20] = 0.6, 0.4
    return found


def test_mixtures_are_told_apart(shares):
    found = tissue_fractions(maps_of(shares), np.ones(SHAPE, dtype=bool))
    np.testing.assert_allclose(found, shares, atol=0.01)


def test_fractions_lie_between_zero_and_one_and_add_up():
    random = np.random.default_rng(1)
    maps = random.uniform([0.2, 200, 20], [1.2, 5000, 2500], (*SHAPE, 3)).transpose(3, 0, 1, 2)
    brain = random.random(SHAPE) < 0.5
    found = tissue_fractions(maps.astype(np.float32), brain)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(0)[brain], 1, atol=1e-5)
    assert (found[:, ~brain] == 0).all()


def test_tissue_values_follow_the_subject_within_the_usual_range(shares):
    scale = np.array([1.0, 1.1, 1.0], np.float32)[:, None, None, None]
    found = tissue_fractions(maps_of(shares) * scale, np.ones(SHAPE, dtype=bool))
    np.testing.assert_allclose(found[:, :, :, 2:8], shares[:, :, :, 2:8], atol=0.02)
    np.testing.assert_allclose(found[:, :, :, 10], shares[:, :, :, 10], atol=0.1)


def test_another_subject_s_grey_matter_is_not_taken_for_a_mixture(shares):
    """1400 and 95 ms would be half white matter and a tenth of fluid of the typical values."""
    values = TYPICAL.copy()
    values[0], values[1], values[2] = (0.7, 900, 70), (0.82, 1400, 95), (1.0, 4000, 1500)
    found = tissue_fractions(maps_of(shares, values), np.ones(SHAPE, dtype=bool))
    np.testing.assert_allclose(found, shares, atol=0.03)


def test_volumes_and_the_parenchymal_fraction(shares):
    tissues = brain_tissues(maps_of(shares), np.ones(SHAPE, dtype=bool), GRID)
    values = {(one.segment, one.name.value): one for one in tissues.values}
    for number, tissue in enumerate(TISSUES):
        volume = values[tissue.name, "PVVOLUME"]
        assert volume.unit.value == "ml"
        assert volume.value == pytest.approx(shares[number].sum() * 2 / 1000, rel=0.01)
    parenchyma = 100 * shares[:2].sum() / shares.sum()
    assert values["Brain", "BPF"].value == pytest.approx(parenchyma, abs=0.2)
    assert {one.tissue for one in tissues.medians} == {tissue.name for tissue in TISSUES}
    assert all(one.usual for one in tissues.medians)
