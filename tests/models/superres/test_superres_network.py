"""The learned step: bounds, missing guides, and the Gauss–Newton step it is told."""

from __future__ import annotations

import torch

from models.superres.held_out import measured_study, procedural_phantom
from models.superres.network import (
    LOWER,
    UPPER,
    Evidence,
    UpdateNetwork,
    gauss_newton_step,
    log_covariance,
)
from models.superres.reconstruction import evidence, initial_maps
from models.superres.study import scale_guides


def _evidence(guides: tuple[bool, bool] = (True, True)) -> Evidence:
    study = measured_study(procedural_phantom((48, 40), 9), (2.0, 2.0), guides=guides)
    scaled = scale_guides(study)
    return evidence(scaled, initial_maps(scaled))


def _wild_network() -> UpdateNetwork:
    torch.manual_seed(0)
    network = UpdateNetwork(8, 1).eval()
    for parameter in network.tail.parameters():
        torch.nn.init.normal_(parameter, std=5.0)
    return network


def test_the_output_is_bounded_whatever_the_weights() -> None:
    told = _evidence()
    with torch.no_grad():
        maps = _wild_network()(*told)
    inside = told.mask[0, 0] > 0
    for index in range(3):
        values = maps[0, index][inside]
        assert LOWER[index] <= float(values.min()) <= float(values.max()) <= UPPER[index]
    assert torch.equal(maps[0, :, ~inside], told.maps[0, :, ~inside])


def test_the_pixels_of_a_missing_guide_do_not_matter() -> None:
    told = _evidence((True, False))
    network = _wild_network()
    noise = torch.rand(told.guides.shape, generator=torch.Generator().manual_seed(1))
    noise[:, 0] = told.guides[:, 0]
    with torch.no_grad():
        torch.testing.assert_close(network(*told), network(*told._replace(guides=noise)))


def test_an_untrained_network_moves_towards_the_guides() -> None:
    told = _evidence()
    before = (told.guides - told.synthetic).square().sum()
    with torch.no_grad():
        maps = UpdateNetwork(8, 1).eval()(*told)
    change = (maps.clamp_min(1e-3).log() - told.maps.clamp_min(1e-3).log()) * told.mask
    predicted = told.synthetic + (told.sensitivities * change.unsqueeze(1)).sum(2)
    assert float((told.guides - predicted).square().sum()) < float(before)


def test_the_step_solves_the_regularised_normal_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn((5, 2, 1), generator=generator, dtype=torch.float64)
    jacobian = torch.randn((5, 2, 3, 1), generator=generator, dtype=torch.float64)
    variance = torch.rand((5, 2, 1), generator=generator, dtype=torch.float64) + 0.1
    covariance = log_covariance((0.1, 0.3, 0.4), residual)
    step, left = gauss_newton_step(residual, jacobian, variance, covariance)
    for i in range(5):
        j = jacobian[i, :, :, 0]
        precision = torch.linalg.inv(covariance) + j.T @ torch.diag(1 / variance[i, :, 0]) @ j
        expected = torch.linalg.solve(precision, j.T @ (residual[i, :, 0] / variance[i, :, 0]))
        torch.testing.assert_close(step[i, :, 0], expected)
        spread = torch.linalg.inv(precision).diagonal() / covariance.diagonal()
        torch.testing.assert_close(left[i, :, 0], spread)
