"""The losses vanish where they must, and ignore what is missing."""

from __future__ import annotations

import pytest
import torch

from models.superres.held_out import measured_study, procedural_phantom
from models.superres.losses import guide_synthesis, low_resolution_consistency
from models.superres.study import signals


def test_the_truth_costs_nothing_and_blur_costs() -> None:
    phantom = procedural_phantom((48, 48), 8)
    study = measured_study(phantom, (3.0, 3.0), noise=0.0)
    blurred = study.truncation.interpolate(study.maps) * study.mask
    truth = signals(study.sequences, phantom.maps)
    noise = torch.full((1, 2), 0.003)
    assert float(guide_synthesis(truth, truth, noise, study.mask)) == 0
    assert (
        float(
            guide_synthesis(
                signals(study.sequences, blurred.clamp_min(0)), truth, noise, study.mask
            )
        )
        > 1
    )
    exact = low_resolution_consistency(
        phantom.maps, study.maps, study.truncation, study.mask, study.map_noise
    )
    assert float(exact) == pytest.approx(0, abs=1e-4)
    shifted = low_resolution_consistency(
        phantom.maps * 1.1, study.maps, study.truncation, study.mask, study.map_noise
    )
    assert float(shifted) > 1


def test_a_missing_guide_is_not_compared() -> None:
    mask = torch.ones(1, 1, 8, 8)
    guides = torch.rand(1, 2, 8, 8)
    wrong = guides.clone()
    wrong[:, 1] += 5
    assert float(guide_synthesis(wrong, guides, torch.tensor([[0.01, 0.0]]), mask)) == 0


def test_guides_are_summed_as_in_the_objective() -> None:
    mask, noise = torch.ones(2, 1, 8, 8), torch.full((2, 2), 0.01)
    guides, synthetic = torch.rand(2, 2, 8, 8), torch.rand(2, 2, 8, 8)
    both = guide_synthesis(synthetic, guides, noise, mask)
    single = []
    for index in range(2):
        present = torch.zeros(1, 2)
        present[0, index] = 1
        single.append(
            guide_synthesis(synthetic, guides * present[..., None, None], noise * present, mask)
        )
    assert float(both) == pytest.approx(float(sum(single)), rel=1e-5)


def test_maps_are_summed_as_in_the_objective() -> None:
    phantom = procedural_phantom((48, 48), 8)
    study = measured_study(phantom, (3.0, 3.0), noise=0.0)

    def loss(maps: torch.Tensor) -> float:
        return float(
            low_resolution_consistency(
                maps, study.maps, study.truncation, study.mask, study.map_noise
            )
        )

    single = []
    for index in range(3):
        factors = torch.ones(1, 3, 1, 1)
        factors[0, index] = 1.1
        single.append(loss(phantom.maps * factors))
    assert loss(phantom.maps * 1.1) == pytest.approx(sum(single), rel=1e-4)
