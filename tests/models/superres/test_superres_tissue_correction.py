"""Errors that a whole tissue shares are found from all of its voxels, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from models.superres.held_out import Phantom, measured_study, procedural_phantom
from models.superres.study import rescaled, scale_guides
from models.superres.tissue_correction import tissue_corrected


def medians(maps: torch.Tensor, phantom: Phantom, tissue: str) -> np.ndarray:
    """Medians of PD, T1 and T2 over those of the truth, in voxels of one tissue."""
    pure = torch.from_numpy(phantom.fractions[tissue] >= 0.95) & (phantom.mask[0, 0] > 0)
    ours, truth = (m[0][:, pure].median(1).values for m in (maps, phantom.maps))
    return np.asarray(ours / truth)


def test_an_error_of_white_matter_that_the_guides_hardly_see_is_found() -> None:
    phantom = procedural_phantom((120, 108), 32)
    scaled = rescaled(scale_guides(measured_study(phantom, (3.0, 3.0))), phantom.maps)
    white = (phantom.maps[:, 1:2] < 1000).float() * phantom.mask
    # PD and T1 that rise together leave the T1w guide as it was, and T2 the T2w guide.
    factors = torch.tensor([1.02, 1.03, 0.985]).view(1, 3, 1, 1) ** white
    found = tissue_corrected(scaled, phantom.maps * factors)
    wrong = medians(phantom.maps * factors, phantom, "white matter") - 1
    left = medians(found, phantom, "white matter") - 1
    assert (np.abs(left) < 0.4 * np.abs(wrong)).all(), left
    assert (found[(phantom.mask == 0).expand_as(found)] == 0).all()


def test_the_truth_stays_as_it_is() -> None:
    phantom = procedural_phantom((120, 108), 33)
    study = measured_study(phantom, (3.0, 3.0))
    scaled = rescaled(scale_guides(study), phantom.maps)
    found = tissue_corrected(scaled, phantom.maps)
    for tissue in phantom.fractions:
        np.testing.assert_allclose(medians(found, phantom, tissue), 1, atol=0.01)
    one_guide = replace(study, guides=study.guides * torch.tensor([1.0, 0]).view(1, 2, 1, 1),
                        sequences=(study.sequences[0], None))  # fmt: skip
    alone = tissue_corrected(rescaled(scale_guides(one_guide), phantom.maps), phantom.maps)
    np.testing.assert_allclose(medians(alone, phantom, "white matter"), 1, atol=0.01)
