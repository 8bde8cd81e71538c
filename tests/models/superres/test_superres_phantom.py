"""Phantoms and simulated studies: partial volume, seeds, ranges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.superres.anatomy import AIR, CSF, GREY, WHITE, anatomy_source, procedural_brain
from models.superres.held_out import measured_study, phantom_of, procedural_phantom
from models.superres.phantom import random_maps, reference_values, tissue_maps
from models.superres.simulation import random_study, random_t1_weighted, shifted


def test_a_mixed_voxel_has_the_signal_of_its_tissues() -> None:
    labels = np.array([[CSF, GREY], [GREY, GREY]], dtype=np.uint8)
    values = reference_values()
    density, t1, t2 = tissue_maps(labels, values, 2)[:, 0, 0]
    parts = values[[CSF, GREY, GREY, GREY]].T
    assert density == pytest.approx(parts[0].mean())
    assert density * np.exp(-100 / t2) == pytest.approx((parts[0] * np.exp(-100 / parts[2])).mean())
    assert density * np.exp(-2500 / t1) == pytest.approx(
        (parts[0] * np.exp(-2500 / parts[1])).mean()
    )
    # A quarter of fluid is seen as little fluid: the mean of the T2 would be 475 ms.
    assert 100 < t2 < 150


def test_one_tissue_alone_keeps_its_values() -> None:
    values = reference_values()
    for tissue in (CSF, GREY, WHITE):
        labels = np.full((2, 2), tissue, dtype=np.uint8)
        assert tissue_maps(labels, values, 2)[:, 0, 0] == pytest.approx(values[tissue], rel=1e-4)


def test_air_lowers_the_density_of_a_voxel_but_not_its_relaxation() -> None:
    labels = np.array([[AIR, WHITE], [AIR, WHITE]], dtype=np.uint8)
    density, t1, t2 = tissue_maps(labels, reference_values(), 2)[:, 0, 0]
    assert (density, t1, t2) == pytest.approx((0.35, 830, 75))


@pytest.mark.parametrize("shape", [(96, 80), (40, 48, 44)])
def test_a_procedural_brain_has_all_tissues_and_follows_its_seed(shape: tuple[int, ...]) -> None:
    first, again, other = (procedural_brain(shape, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    shares = [(first == tissue).mean() / (first != AIR).mean() for tissue in (CSF, GREY, WHITE)]
    assert all(0.05 < share < 0.8 for share in shares)


def test_random_maps_stay_within_physics() -> None:
    draw = anatomy_source(None)
    for seed in range(4):
        random = np.random.default_rng(seed)
        maps = random_maps(draw((96, 96), random), 2, random)
        assert np.isfinite(maps).all()
        assert 0 <= maps[0].min() <= maps[0].max() < 1.6
        assert maps[1].max() < 9000


def test_a_shift_by_whole_voxels_is_a_roll() -> None:
    image = torch.randn(2, 12, 15, generator=torch.Generator().manual_seed(0))
    moved = shifted(image, torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
    torch.testing.assert_close(moved[0], image[0].roll((1, -2), (0, 1)), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[1], image[1].roll(3, 1), atol=1e-5, rtol=0)


def test_random_protocols_can_be_played_out() -> None:
    for seed in range(30):
        sequence = random_t1_weighted(np.random.default_rng(seed), 4)
        values = vars(sequence)
        if "inversion_time" not in values:
            continue
        before = values["inversion_time"] - values["centre_readout"] * values["echo_spacing"]
        train = values["readouts"] * values["echo_spacing"]
        assert bool((before > 0).all())
        assert bool((values["shot_repetition_time"] >= before + train).all())


def test_a_training_study_hides_what_its_losses_compare_with() -> None:
    maps = procedural_phantom((48, 48), 5).maps
    training = random_study(maps, np.random.default_rng(3), (True, False))
    assert training.study.sequences[1] is None
    assert float(training.study.guides[:, 1].abs().max()) == 0
    assert training.measured.shape[2] >= training.study.maps.shape[2]
    assert training.measured.shape[2] <= round(48 / 1.5), "never at the resolution of the guides"


def test_a_measured_study_has_the_noise_it_says() -> None:
    phantom = procedural_phantom((64, 64), 6)
    clean, noisy = (measured_study(phantom, (2.0, 2.0), noise=n) for n in (0.0, 0.02))
    spread = (noisy.maps - clean.maps)[0].flatten(1).std(1)
    torch.testing.assert_close(spread, noisy.map_noise[0], rtol=0.1, atol=0)


def test_a_phantom_knows_its_fractions() -> None:
    labels = procedural_brain((64, 64), np.random.default_rng(0))
    phantom = phantom_of(labels)
    total = sum(phantom.fractions.values())
    inside = phantom.mask[0, 0].numpy() > 0
    assert (total[inside] >= 0.5).all()
    assert (phantom.maps[0, :, ~phantom.mask[0, 0].bool()] == 0).all()
