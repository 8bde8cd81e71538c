from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.diffusion.kurtosis_fit import hemisphere
from models.diffusion.noddi import FREE_DIFFUSIVITY, PARALLEL_DIFFUSIVITY, noddi_signal
from models.diffusion.noddi_fit import NoddiGaussNewton, NoddiPrior, shells

B = np.concatenate((np.zeros(3), np.full(30, 1000.0), np.full(40, 2000.0)))
G = np.vstack((np.zeros((3, 3)), hemisphere(30), hemisphere(40)[:, [1, 2, 0]]))


def _voxels(number: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    ndi, odi, fwf = torch.rand((3, number), generator=generator, dtype=torch.float64)
    orientation = torch.randn((number, 3), generator=generator, dtype=torch.float64)
    return (
        torch.full((number,), 400.0, dtype=torch.float64),
        0.1 + 0.7 * ndi,
        0.03 + 0.7 * odi,
        0.6 * fwf,
        torch.nn.functional.normalize(orientation, dim=1),
    )


def _signal(voxels: tuple[torch.Tensor, ...], g: np.ndarray = G) -> torch.Tensor:
    return noddi_signal(*voxels, torch.as_tensor(B), torch.as_tensor(g))


@pytest.mark.parametrize("odi", [0.03, 0.2, 0.9])
def test_dispersed_sticks_equal_the_average_over_the_sphere(odi: float) -> None:
    points = 200_000
    index = np.arange(points) + 0.5
    polar, azimuth = np.arccos(1 - 2 * index / points), np.pi * (1 + 5**0.5) * index
    sphere = np.column_stack(
        (np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar))
    )
    mean = np.array([0.6, 0.0, 0.8])
    weight = np.exp(((sphere @ mean) ** 2 - 1) / np.tan(odi * np.pi / 2))
    sticks = np.exp(-B[:, None] * PARALLEL_DIFFUSIVITY * (G @ sphere.T) ** 2)
    expected = sticks @ (weight / weight.sum())
    one = torch.ones((), dtype=torch.float64)
    found = noddi_signal(
        one, one, odi * one, 0 * one, torch.as_tensor(mean), torch.as_tensor(B), torch.as_tensor(G)
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_limits() -> None:
    s0, ndi, odi, fwf, orientation = _voxels(50)
    water = _signal((s0, ndi, odi, torch.ones_like(fwf), orientation))
    np.testing.assert_allclose(
        water.numpy(), 400 * np.exp(-B * FREE_DIFFUSIVITY)[None].repeat(50, 0)
    )
    np.testing.assert_allclose(_signal((s0, ndi, odi, fwf, orientation))[:, :3].numpy(), 400.0)
    isotropic = _signal((s0, ndi, torch.ones_like(odi), fwf, orientation))
    assert isotropic[:, 3:33].std(dim=1).max() < 0.01


def test_turning_tissue_and_gradients_together_changes_nothing() -> None:
    s0, ndi, odi, fwf, orientation = _voxels(20)
    turn = Rotation.random(random_state=1).as_matrix()
    turned = _signal((s0, ndi, odi, fwf, orientation @ torch.as_tensor(turn.T)), G @ turn.T)
    np.testing.assert_allclose(
        turned.numpy(), _signal((s0, ndi, odi, fwf, orientation)).numpy(), rtol=1e-9
    )


def test_derivatives() -> None:
    voxels = tuple(value.requires_grad_() for value in _voxels(2))
    assert torch.autograd.gradcheck(lambda *v: _signal(v)[:, ::12], voxels, atol=1e-4)


def test_fit_recovers_what_made_the_signal() -> None:
    voxels = _voxels(1000)
    fit = NoddiGaussNewton(B, G).fit(_signal(voxels), voxels[4])
    for name, truth in zip(("s0", "ndi", "odi", "fwf"), voxels, strict=False):
        error = (getattr(fit, name) - truth).abs() / truth.abs().amax()
        assert error.quantile(0.98) < 2e-3, name
    np.testing.assert_allclose(fit.predicted.numpy(), _signal(voxels).numpy(), rtol=5e-3, atol=0.5)


def test_orientation_comes_from_the_tensor() -> None:
    s0, ndi, _, fwf, orientation = _voxels(200)
    signal = _signal((s0, ndi, torch.full_like(ndi, 0.1), fwf, orientation))
    found = NoddiGaussNewton(B, G).fit(signal).orientation
    cosine = (found * orientation).sum(dim=1).abs()
    assert torch.rad2deg(torch.arccos(cosine.clamp(max=1))).median() < 1.5


def test_a_certain_belief_decides_and_an_empty_one_does_not_matter() -> None:
    voxels = _voxels(100)
    signal, fit = _signal(voxels), NoddiGaussNewton(B, G)
    plain = fit.fit(signal, voxels[4])
    belief = torch.tensor([np.log(400.0), 0.5, 0.3, 0.1]).repeat(100, 1)
    nothing = fit.fit(signal, voxels[4], NoddiPrior(belief, torch.zeros(100, 4)))
    np.testing.assert_allclose(nothing.ndi.numpy(), plain.ndi.numpy(), atol=1e-5)
    certain = fit.fit(signal, voxels[4], NoddiPrior(belief, torch.full((100, 4), 1e6)))
    np.testing.assert_allclose(certain.ndi.numpy(), 0.5, atol=1e-3)


def test_shells_are_told_apart_whatever_the_rounding() -> None:
    b = np.array([1000.0, 0, 998, 2005, 1.25, 1995, 1003])
    assert [sorted(group.tolist()) for group in shells(b)] == [[1, 4], [0, 2, 6], [3, 5]]


def test_one_shell_is_refused() -> None:
    with pytest.raises(ValueError, match="two shells"):
        NoddiGaussNewton(B[:33], G[:33])
