"""Properties of the forward models of the diffusion signal, and agreement with DIPY."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.diffusion.signal import TENSOR_ELEMENTS, dki_signal, dti_signal, kurtosis_basis

B_VALUES = torch.tensor([0.0, 1000.0, 1000.0, 1000.0, 2000.0, 2000.0, 2500.0], dtype=torch.float64)


@pytest.fixture
def directions() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(len(B_VALUES), 3, generator=generator, dtype=torch.float64)
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    vectors[0] = 0
    return vectors


@pytest.fixture
def tensors() -> torch.Tensor:
    """Twenty positive definite tensors, mm²/s."""
    generator = torch.Generator().manual_seed(4)
    root = 0.02 * torch.randn(20, 3, 3, generator=generator, dtype=torch.float64)
    return elements(root @ root.mT)


@pytest.fixture
def kurtosis() -> torch.Tensor:
    return torch.randn(20, 15, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def elements(matrices: torch.Tensor) -> torch.Tensor:
    return torch.stack([matrices[..., i, j] for i, j in TENSOR_ELEMENTS], dim=-1)


def full(tensors: torch.Tensor) -> torch.Tensor:
    matrices = tensors.new_zeros(*tensors.shape[:-1], 3, 3)
    for position, (i, j) in enumerate(TENSOR_ELEMENTS):
        matrices[..., i, j] = matrices[..., j, i] = tensors[..., position]
    return matrices


def test_signal_without_weighting_is_s0(tensors, kurtosis, directions):
    s0 = torch.linspace(1, 1000, 20, dtype=torch.float64)
    assert torch.equal(dti_signal(s0, tensors, B_VALUES, directions)[:, 0], s0)
    assert torch.equal(dki_signal(s0, tensors, kurtosis, B_VALUES, directions)[:, 0], s0)


def test_isotropic_diffusion_has_no_direction(directions):
    tensor = torch.tensor([1e-3, 1e-3, 1e-3, 0, 0, 0], dtype=torch.float64)
    signal = dti_signal(torch.tensor(100.0, dtype=torch.float64), tensor, B_VALUES, directions)
    assert torch.allclose(signal, 100 * torch.exp(-B_VALUES * 1e-3))


def test_turning_gradients_and_tensors_together_changes_nothing(tensors, directions):
    turn = torch.as_tensor(Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix())
    turned = elements(turn @ full(tensors) @ turn.T)
    s0 = torch.ones(20, dtype=torch.float64)
    before = dti_signal(s0, tensors, B_VALUES, directions)
    after = dti_signal(s0, turned, B_VALUES, directions @ turn.T)
    assert torch.allclose(before, after, rtol=1e-12)


def test_without_kurtosis_dki_is_dti(tensors, directions):
    s0 = torch.full((20,), 50.0, dtype=torch.float64)
    none = torch.zeros(20, 15, dtype=torch.float64)
    assert torch.equal(
        dki_signal(s0, tensors, none, B_VALUES, directions),
        dti_signal(s0, tensors, B_VALUES, directions),
    )


def test_isotropic_kurtosis_is_the_scalar_formula(directions):
    """With W of an isotropic K, the sum over directions is K for every unit vector."""
    isotropic = torch.zeros(15, dtype=torch.float64)
    isotropic[:3] = 1.0
    isotropic[9:12] = 1 / 3
    assert torch.allclose(
        kurtosis_basis(directions[1:]) @ isotropic,
        torch.ones(len(B_VALUES) - 1, dtype=torch.float64),
    )


def test_signals_agree_with_dipy(tensors, kurtosis, directions):
    dti = pytest.importorskip("dipy.reconst.dti")
    dki = pytest.importorskip("dipy.reconst.dki")
    gradients = pytest.importorskip("dipy.core.gradients")
    table = gradients.gradient_table(B_VALUES.numpy(), bvecs=directions.numpy(), b0_threshold=0)
    values, vectors = np.linalg.eigh(full(tensors).numpy())
    parameters = np.concatenate((values[:, ::-1], vectors[:, :, ::-1].reshape(20, 9)), axis=1)
    s0 = 100 * torch.ones(20, dtype=torch.float64)

    theirs = dti.tensor_prediction(parameters, table, 100.0)
    assert np.allclose(dti_signal(s0, tensors, B_VALUES, directions).numpy(), theirs, rtol=1e-10)

    with_kurtosis = np.concatenate((parameters, kurtosis.numpy()), axis=1)
    theirs = dki.dki_prediction(with_kurtosis, table, S0=100.0)
    ours = dki_signal(s0, tensors, kurtosis, B_VALUES, directions).numpy()
    assert np.allclose(ours, theirs, rtol=1e-10)


def test_gradients_are_those_of_finite_differences(tensors, kurtosis, directions):
    s0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    tensor = (tensors[:2] * 1e3).requires_grad_()
    w = kurtosis[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b, c: dki_signal(a, b, c, B_VALUES / 1e3, directions), (s0, tensor, w)
    )
