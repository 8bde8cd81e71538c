"""Guide scale and bias field in closed form."""

from __future__ import annotations

import pytest
import torch

from models.superres.degradation import whole
from models.superres.guide_scale import guide_field, polynomial_basis
from models.superres.held_out import measured_study, procedural_phantom
from models.superres.study import rescaled, scale_guides


def _signal(shape: tuple[int, ...]) -> torch.Tensor:
    return 0.2 + torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))


def test_a_scale_is_found_exactly() -> None:
    signal = _signal((20, 24))
    guide = signal * torch.tensor([3.0, 700.0]).view(2, 1, 1)
    field = guide_field(guide, signal, torch.ones_like(signal), whole((60, 72)), order=0)
    torch.testing.assert_close(field[:, 0, 0], torch.tensor([3.0, 700.0]))


@pytest.mark.parametrize("shape", [(20, 24), (12, 14, 10)])
def test_a_smooth_bias_field_is_found_at_high_resolution(shape: tuple[int, ...]) -> None:
    signal = _signal(shape)[:1]
    high = tuple(3 * n for n in shape)
    weights = torch.linspace(0.05, -0.1, len(polynomial_basis(shape, 2)) - 1)

    def bias(grid: tuple[int, ...]) -> torch.Tensor:
        return (
            50 * (1 + torch.einsum("f,f...->...", weights, polynomial_basis(grid, 2)[1:].float()))
        )[None]

    found = guide_field(signal * bias(shape), signal, torch.ones_like(signal), whole(high), order=2)
    inner = tuple(slice(4, n - 4) for n in high)
    torch.testing.assert_close(found[0][inner], bias(high)[0][inner], rtol=0.02, atol=0)


def test_a_lesion_hardly_moves_the_scale() -> None:
    signal = _signal((30, 30))[:1]
    guide = signal * 10
    guide[:, 10:15, 10:15] *= 2
    field = guide_field(guide, signal, torch.ones_like(signal), whole((30, 30)), order=0)
    assert float(field[0, 0, 0]) == pytest.approx(10, rel=0.002)


def test_what_cannot_be_scaled_is_refused() -> None:
    signal = _signal((10, 10))
    with pytest.raises(ValueError, match="no voxel"):
        guide_field(signal, signal, torch.zeros_like(signal), whole((10, 10)))
    with pytest.raises(ValueError, match="not positive"):
        guide_field(-signal, signal, torch.ones_like(signal), whole((10, 10)), order=0)


def test_partial_volume_no_longer_biases_the_scale_once_detail_is_known() -> None:
    phantom = procedural_phantom((96, 96), 7)
    study = measured_study(phantom, (3.0, 3.0), scale=300.0)
    field = rescaled(scale_guides(study), phantom.maps, order=0).fields[0]
    assert field[0].mean().item() == pytest.approx(300, rel=0.01)
    assert field[1].mean().item() == pytest.approx(300, rel=0.01)
