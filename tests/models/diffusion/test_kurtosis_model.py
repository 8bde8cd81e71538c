from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.diffusion.kurtosis import kurtosis_scalars
from models.diffusion.kurtosis_fit import KurtosisLeastSquares, condition, eigenframe, hemisphere
from models.diffusion.noddi import noddi_signal
from models.diffusion.signal import dki_signal, kurtosis_basis, tensor_basis

B = np.concatenate((np.zeros(3), np.full(30, 1000.0), np.full(30, 2000.0)))
G = np.vstack((np.zeros((3, 3)), hemisphere(30), hemisphere(30)[:, [2, 0, 1]]))


def _tissue(number: int, noise: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ndi, odi, water = torch.rand((3, number), generator=generator, dtype=torch.float64)
    orientation = torch.randn((number, 3), generator=generator, dtype=torch.float64)
    signal = noddi_signal(
        torch.full((number,), 500.0, dtype=torch.float64),
        0.3 + 0.4 * ndi,
        0.05 + 0.4 * odi,
        0.2 * water,
        torch.nn.functional.normalize(orientation, dim=1),
        torch.as_tensor(B),
        torch.as_tensor(G),
    )
    return signal + noise * torch.randn(signal.shape, generator=generator, dtype=torch.float64)


def test_fit_recovers_the_tensors_that_made_the_signal() -> None:
    made = KurtosisLeastSquares(B, G, constrained=False).fit(_tissue(50))
    signal = dki_signal(made.s0, made.tensor, made.kurtosis, torch.as_tensor(B), torch.as_tensor(G))
    again = KurtosisLeastSquares(B, G).fit(signal)
    np.testing.assert_allclose(again.tensor.numpy(), made.tensor.numpy(), atol=1e-12)
    np.testing.assert_allclose(again.kurtosis.numpy(), made.kurtosis.numpy(), atol=1e-8)
    assert not again.constrained.any()


def test_scalars_are_the_averages_that_define_them() -> None:
    fit = KurtosisLeastSquares(B, G, constrained=False).fit(_tissue(20))
    directions = torch.as_tensor(hemisphere(20_000))
    apparent = fit.tensor @ tensor_basis(directions).T
    quartic = fit.kurtosis @ kurtosis_basis(directions).T
    along = fit.eigenvalues.mean(dim=1, keepdim=True) ** 2 * quartic / apparent**2
    np.testing.assert_allclose(fit.mean_kurtosis.numpy(), along.mean(dim=1).numpy(), rtol=1e-4)
    frame = eigenframe(fit.tensor, fit.principal)
    angle = torch.linspace(0, 2 * np.pi, 721, dtype=torch.float64)[:-1, None]
    for i in range(20):
        across = torch.cos(angle) * frame[i, :, 1] + torch.sin(angle) * frame[i, :, 2]
        d = fit.tensor[i] @ tensor_basis(across).T
        k = fit.eigenvalues[i].mean() ** 2 * (fit.kurtosis[i] @ kurtosis_basis(across).T) / d**2
        assert float(fit.radial_kurtosis[i]) == pytest.approx(float(k.mean()), rel=1e-6)


def test_equal_eigenvalues_are_no_special_case() -> None:
    isotropic = torch.zeros((1, 15), dtype=torch.float64)
    isotropic[0, :3], isotropic[0, 9:12] = 0.8, 0.8 / 3
    values = torch.full((1, 3), 1e-3, dtype=torch.float64)
    for value in kurtosis_scalars(values, torch.eye(3, dtype=torch.float64)[None], isotropic):
        assert float(value[0]) == pytest.approx(0.8, rel=1e-9)


def test_turning_the_head_changes_no_scalar() -> None:
    signal = _tissue(30, noise=5.0)
    turn = Rotation.random(random_state=3).as_matrix()
    one = KurtosisLeastSquares(B, G, constrained=False).fit(signal)
    other = KurtosisLeastSquares(B, G @ turn.T, constrained=False).fit(signal)
    np.testing.assert_allclose(other.mean_kurtosis.numpy(), one.mean_kurtosis.numpy(), rtol=1e-6)
    np.testing.assert_allclose(other.axial_kurtosis.numpy(), one.axial_kurtosis.numpy(), rtol=1e-5)


def test_signals_that_are_not_positive_are_as_if_never_measured() -> None:
    signal = _tissue(20, noise=5.0)
    signal[:8, [4, 40]] = -1.0
    fit = KurtosisLeastSquares(B, G, constrained=False).fit(signal)
    kept = np.setdiff1d(np.arange(len(B)), [4, 40])
    expected = KurtosisLeastSquares(B[kept], G[kept], constrained=False).fit(signal[:8, kept])
    np.testing.assert_allclose(fit.tensor[:8], expected.tensor, atol=1e-11)
    np.testing.assert_allclose(fit.kurtosis[:8], expected.kurtosis, atol=1e-6)


def test_noise_leaves_no_holes_and_the_signal_never_rises_with_b() -> None:
    signal = _tissue(500, noise=40.0).clamp(min=1)
    plain = KurtosisLeastSquares(B, G, constrained=False).fit(signal)
    fit = KurtosisLeastSquares(B, G).fit(signal)
    assert (plain.mean_kurtosis < 0).any()
    assert (fit.mean_kurtosis >= 0).all()
    assert (fit.radial_kurtosis >= 0).all()
    directions = torch.as_tensor(hemisphere(45))
    quartic = fit.kurtosis @ kurtosis_basis(directions).T
    assert quartic.min() > -1e-9
    untouched = ~fit.constrained
    np.testing.assert_array_equal(fit.tensor[untouched], plain.tensor[untouched])
    # The data decide among what the constraints allow: hardly any misfit is added.
    added = fit.residuals.square().mean().sqrt() / plain.residuals.square().mean().sqrt()
    assert added < 1.2


def test_one_shell_does_not_determine_kurtosis() -> None:
    assert condition(B[:33], G[:33]) > 1e4
    with pytest.raises(ValueError, match="do not determine"):
        KurtosisLeastSquares(B[:33], G[:33])
