"""The networks of the ablation differ in guides, input and losses, and in nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.superres.ablation_training import (
    GUIDES,
    VARIANTS,
    network_alone,
    train_variants,
    without_measured_maps,
)
from models.superres.held_out import measured_study, procedural_phantom, varied_phantoms
from models.superres.network import UpdateNetwork
from models.superres.reconstruction import evidence, initial_maps
from models.superres.study import scale_guides
from models.superres.training import TrainingSettings, phantom_slices

SETTINGS = TrainingSettings(steps=4, batch=2, size=32, phantoms=3, channels=8, blocks=1)


def _ignore() -> None:
    """Stands for the progress bar."""


def test_variants_resume_from_their_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.superres.ablation_training._CHECKPOINT_EVERY", 2)
    phantoms = phantom_slices(SETTINGS, None, _ignore)
    whole = train_variants(GUIDES["M_1"], phantoms, SETTINGS, None, _ignore)
    steps = []
    train_variants(
        GUIDES["M_1"],
        phantoms,
        SETTINGS,
        tmp_path / "checkpoint",
        lambda: steps.append(1),
    )
    again = train_variants(
        GUIDES["M_1"], phantoms, SETTINGS, tmp_path / "checkpoint", lambda: steps.append(1)
    )
    assert len(steps) == SETTINGS.steps, "a finished training is not repeated"
    assert set(whole) == set(VARIANTS)
    for name, variant in whole.items():
        for key, value in variant.network.state_dict().items():
            torch.testing.assert_close(
                again[name].network.state_dict()[key], value, rtol=1e-5, atol=1e-6
            )


def test_without_the_low_resolution_maps_the_network_sees_nothing_of_them() -> None:
    study = measured_study(procedural_phantom((48, 48), 1), (3.0, 3.0))
    scaled = scale_guides(study)
    other = replace(scaled, interpolated=scaled.interpolated * 0.7)
    network = UpdateNetwork(8, 1)
    torch.nn.init.normal_(network.tail.weight, std=0.01)
    with torch.no_grad():
        hidden = [network_alone(network, s, measured_maps=False) for s in (scaled, other)]
        shown = [network_alone(network, s, measured_maps=True) for s in (scaled, other)]
        told = without_measured_maps(evidence(scaled, initial_maps(scaled)))
    assert not told.interpolated.any()
    assert not told.map_residual.any()
    torch.testing.assert_close(hidden[0], hidden[1], rtol=0, atol=0)
    assert not torch.equal(shown[0], shown[1])


def test_subjects_differ_and_stay_within_physics() -> None:
    first, second = varied_phantoms(None, 2)
    for phantom in (first, second):
        inside = phantom.mask[0, 0] > 0
        assert bool((phantom.maps[0, :, inside] > 0).all())
        assert float(phantom.maps[0, 1].max()) <= 5000
    assert first.maps.shape == second.maps.shape
    assert not torch.equal(first.maps, second.maps)
