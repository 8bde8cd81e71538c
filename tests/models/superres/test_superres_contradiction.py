"""Where guides and measured maps contradict each other, what only one of them shows is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.superres.contradiction import kept
from models.superres.evaluate import with_lesion
from models.superres.held_out import Phantom, measured_study, procedural_phantom
from models.superres.study import ScaledStudy, rescaled, scale_guides

FACTORS = (3.0, 3.0)


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    return procedural_phantom((120, 108), 31)


@pytest.fixture(scope="module")
def lesion(healthy: Phantom) -> tuple[Phantom, Tensor]:
    """The phantom with a lesion, and where it is, (rows, columns)."""
    changed, inside = with_lesion(healthy)
    return changed, torch.from_numpy(inside)


def decided(measured: Phantom, guided: Phantom) -> tuple[ScaledStudy, Tensor]:
    """What is decided about maps of one phantom and guides of another, and the maps to go on from.

    The maps so far are those of the guides, with their many voxels.
    """
    study = measured_study(guided, FACTORS)
    mixed = replace(study, maps=measured_study(measured, FACTORS).maps)
    return kept(rescaled(scale_guides(mixed), guided.maps), guided.maps)


def test_where_all_agree_nothing_changes(healthy: Phantom, lesion: tuple[Phantom, Tensor]) -> None:
    for phantom in (healthy, lesion[0]):
        scaled, start = decided(phantom, phantom)
        assert bool((scaled.trust == 1).all())
        assert bool((scaled.map_trust == 1).all())
        torch.testing.assert_close(start, phantom.maps, rtol=0, atol=0)


def test_a_lesion_of_the_maps_alone_takes_the_trust_from_the_guides(
    healthy: Phantom, lesion: tuple[Phantom, Tensor]
) -> None:
    changed, inside = lesion
    scaled, start = decided(changed, healthy)
    assert float(scaled.trust[0][:, inside].mean()) < 0.1
    assert float(scaled.map_trust.min()) > 0.9
    for quantity in (1, 2):
        rise = start[0, quantity][inside] / healthy.maps[0, quantity][inside]
        assert float(rise.median()) > 1.4
    far = ~torch.nn.functional.max_pool2d(inside[None, None].float(), 31, 1, 15)[0, 0].bool()
    torch.testing.assert_close(start[0][:, far], healthy.maps[0][:, far], rtol=0, atol=0)


def test_a_lesion_of_the_guides_alone_takes_the_trust_from_the_maps(
    healthy: Phantom, lesion: tuple[Phantom, Tensor]
) -> None:
    changed, inside = lesion
    scaled, start = decided(healthy, changed)
    assert float(scaled.trust[0][:, inside].mean()) > 0.75
    assert float(scaled.map_trust.min()) < 0.2
    stays = (start == changed.maps)[0, 1][inside]
    assert float(stays.float().mean()) > 0.9


def test_maps_that_were_cut_off_at_zero_are_no_contradiction(healthy: Phantom) -> None:
    study = measured_study(healthy, FACTORS)
    cut = replace(study, maps=study.maps.clamp_min(0))
    scaled, _ = kept(rescaled(scale_guides(cut), healthy.maps), healthy.maps)
    assert float(((scaled.trust < 0.5) & (study.mask > 0)).sum() / study.mask.sum()) < 0.1
