"""The least-squares tensor: exact on noise-free signals, symmetric, scale-free, and DIPY's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.diffusion.design import condition, design_matrix
from models.diffusion.scalars import (
    axial_diffusivity,
    direction_colour,
    fractional_anisotropy,
    mean_diffusivity,
    radial_diffusivity,
)
from models.diffusion.signal import dti_signal
from models.diffusion.tensor_fit import TensorLeastSquares

METHODS = ("weighted", "ordinary")


def shell(number: int, seed: int = 0) -> np.ndarray:
    """Unit vectors, spread at random."""
    vectors = np.random.default_rng(seed).normal(size=(number, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def table() -> tuple[np.ndarray, np.ndarray]:
    """2 b0 and 20 directions of b 1000 s/mm²."""
    return np.r_[0.0, 0.0, np.full(20, 1000.0)], np.r_[np.zeros((2, 3)), shell(20)]


@pytest.fixture
def tensors() -> torch.Tensor:
    """200 tensors with eigenvalues of tissue, turned at random, (200, 6) mm²/s."""
    frames = Rotation.random(200, random_state=6).as_matrix()
    values = np.random.default_rng(7).uniform(0.1e-3, 3e-3, size=(200, 3))
    full = np.einsum("nij,nj,nkj->nik", frames, values, frames)
    order = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    return torch.as_tensor(np.stack([full[:, i, j] for i, j in order], axis=1))


def noisy(
    tensors: torch.Tensor, table: tuple[np.ndarray, np.ndarray], sd: float = 20.0
) -> torch.Tensor:
    s0 = torch.full((len(tensors),), 800.0, dtype=torch.float64)
    signal = dti_signal(s0, tensors, *map(torch.as_tensor, table))
    noise = torch.randn(
        signal.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64
    )
    return (signal + sd * noise).clamp(min=1).float()


@pytest.mark.parametrize("method", METHODS)
def test_noise_free_signals_give_their_tensor_back(method, table, tensors):
    s0 = torch.linspace(10, 4000, len(tensors), dtype=torch.float64)
    fit = TensorLeastSquares(*table, method).fit(
        dti_signal(s0, tensors, *map(torch.as_tensor, table))
    )
    assert torch.allclose(fit.tensor, tensors, rtol=0, atol=1e-14)
    assert torch.allclose(fit.s0, s0, rtol=1e-11)
    assert fit.residuals.abs().max() < 1e-8
    assert not fit.raised_signals.any()
    assert not fit.left_out_signals.any()
    assert not fit.raised_eigenvalues.any()
    assert not fit.unweighted.any()


@pytest.mark.parametrize("method", METHODS)
def test_isotropic_diffusion_has_no_anisotropy(method, table):
    tensor = torch.tensor([[1e-3, 1e-3, 1e-3, 0, 0, 0]], dtype=torch.float64)
    signal = dti_signal(
        torch.tensor([500.0], dtype=torch.float64), tensor, *map(torch.as_tensor, table)
    )
    values = TensorLeastSquares(*table, method).fit(signal).eigenvalues
    assert fractional_anisotropy(values).item() == pytest.approx(0, abs=1e-10)
    for scalar in (mean_diffusivity, axial_diffusivity, radial_diffusivity):
        assert scalar(values).item() == pytest.approx(1e-3, rel=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_turning_the_gradients_turns_the_principal_axis_and_nothing_else(method, table, tensors):
    b_values, directions = table
    turn = Rotation.from_rotvec([0.4, 1.3, -0.2]).as_matrix()
    signals = noisy(tensors, table)
    before = TensorLeastSquares(b_values, directions, method).fit(signals)
    after = TensorLeastSquares(b_values, directions @ turn.T, method).fit(signals)
    assert torch.allclose(before.eigenvalues, after.eigenvalues, rtol=1e-7, atol=1e-12)
    assert torch.allclose(before.s0, after.s0, rtol=1e-9)
    separated = before.eigenvalues[:, 0] - before.eigenvalues[:, 1] > 1e-4
    expected = before.principal @ torch.as_tensor(turn.T)
    cosines = (expected * after.principal).sum(dim=1).abs()
    assert separated.sum() > 100
    assert torch.allclose(cosines[separated], torch.ones_like(cosines[separated]), atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.01, 1e4), order=st.randoms(use_true_random=False))
def test_scale_and_order_of_volumes_change_nothing(method, factor, order):
    b_values = np.r_[0.0, 0.0, np.full(12, 1000.0)]
    directions = np.r_[np.zeros((2, 3)), shell(12, seed=9)]
    signals = torch.as_tensor(np.random.default_rng(10).uniform(50, 900, size=(30, 14)))
    permutation = list(range(14))
    order.shuffle(permutation)
    plain = TensorLeastSquares(b_values, directions, method).fit(signals)
    changed = TensorLeastSquares(b_values[permutation], directions[permutation], method).fit(
        factor * signals[:, permutation]
    )
    assert torch.allclose(plain.eigenvalues, changed.eigenvalues, rtol=1e-8, atol=1e-13)
    assert torch.allclose(factor * plain.s0, changed.s0, rtol=1e-8)
    assert torch.allclose(
        factor * plain.residuals[:, permutation], changed.residuals, atol=1e-7 * factor
    )


def test_the_sign_of_a_direction_does_not_matter(table, tensors):
    signals = noisy(tensors, table)
    plain = TensorLeastSquares(*table).fit(signals)
    mirrored = TensorLeastSquares(table[0], -table[1]).fit(signals)
    assert torch.equal(plain.tensor, mirrored.tensor)


def test_a_voxel_does_not_depend_on_its_neighbours(table, tensors):
    signals = noisy(tensors, table)
    fitter = TensorLeastSquares(*table)
    together = fitter.fit(signals)
    apart = torch.cat([fitter.fit(part).tensor for part in signals.split(7)])
    assert torch.allclose(together.tensor, apart, rtol=1e-9, atol=1e-16)


def test_replacements_are_counted(table):
    signals = torch.full((3, 22), 100.0)
    signals[0, 5:8] = 0.0
    signals[1, :2] = 20.0  # dark b0: negative diffusivity
    fit = TensorLeastSquares(*table, minimum_signal=1.0).fit(signals)
    assert fit.raised_signals.tolist() == [3, 0, 0]
    assert fit.raised_eigenvalues[1] == 3
    assert (fit.eigenvalues > 0).all()
    assert fit.tensor[1, :3].max() < 0, "the tensor itself is left as fitted"


@pytest.mark.parametrize("method", METHODS)
def test_signals_that_are_not_positive_are_as_if_never_measured(method, table, tensors):
    signals = noisy(tensors, table)
    signals[:50, [3, 9]] = 0.0
    signals[50:90, 1] = -5.0
    fit = TensorLeastSquares(*table, method).fit(signals)
    assert fit.left_out_signals.tolist() == [2] * 50 + [1] * 40 + [0] * 110
    assert not fit.raised_signals.any()
    for voxels, absent in ((slice(0, 50), [3, 9]), (slice(50, 90), [1])):
        kept = np.setdiff1d(np.arange(22), absent)
        expected = TensorLeastSquares(table[0][kept], table[1][kept], method).fit(
            signals[voxels, kept]
        )
        assert torch.allclose(fit.tensor[voxels], expected.tensor, rtol=1e-8, atol=1e-14)
        assert torch.allclose(fit.s0[voxels], expected.s0, rtol=1e-8)


def test_their_unit_does_not_matter_either(table, tensors):
    signals = noisy(tensors, table)
    signals[:, 4] = torch.where(torch.arange(len(signals)) % 3 == 0, 0.0, signals[:, 4])
    fits = [TensorLeastSquares(*table).fit(unit * signals).tensor for unit in (1.0, 1e-3)]
    assert torch.allclose(*fits, rtol=1e-5, atol=1e-9)


def test_with_too_few_positive_signals_the_others_are_the_smallest_of_them(tensors):
    table = np.r_[0.0, np.full(6, 1000.0)], np.r_[np.zeros((1, 3)), shell(6, seed=1)]
    signals = noisy(tensors, table)[:4]
    signals[1, 2] = 0.0
    signals[2] = 0.0
    fit = TensorLeastSquares(*table).fit(signals)
    assert fit.raised_signals.tolist() == [0, 1, 7, 0]
    assert not fit.left_out_signals.any()
    changed = signals.clone()
    changed[1, 2] = signals[1][signals[1] > 0].min()
    expected = TensorLeastSquares(*table).fit(changed)
    assert torch.allclose(fit.tensor[1], expected.tensor[1])
    assert fit.tensor.isfinite().all()
    assert fit.s0[2] < 1


@pytest.mark.parametrize(
    ("b_values", "directions"),
    [
        pytest.param(
            np.r_[0.0, np.full(5, 1000.0)], np.r_[np.zeros((1, 3)), shell(5)], id="six volumes"
        ),
        pytest.param(
            np.r_[0.0, np.full(12, 1000.0)],
            np.r_[np.zeros((1, 3)), np.tile(shell(4), (3, 1))],
            id="four directions",
        ),
        pytest.param(np.full(12, 1000.0), shell(12), id="one shell, no b0"),
        pytest.param(
            np.r_[0.0, np.full(12, 1000.0)],
            np.r_[
                np.zeros((1, 3)),
                np.c_[np.cos(np.arange(12) / 4), np.sin(np.arange(12) / 4), np.zeros(12)],
            ],
            id="directions in a plane",
        ),
        pytest.param(np.zeros(9), np.zeros((9, 3)), id="no weighting"),
    ],
)
def test_a_table_that_does_not_determine_the_tensor_is_an_error(b_values, directions):
    with pytest.raises(ValueError, match="do not determine"):
        TensorLeastSquares(b_values, directions)


def test_the_equations_are_the_logarithm_of_the_forward_model(table, tensors):
    s0 = torch.full((len(tensors),), 300.0, dtype=torch.float64)
    signal = dti_signal(s0, tensors, *map(torch.as_tensor, table))
    unknowns = np.column_stack((tensors.numpy(), np.log(s0.numpy())))
    assert np.allclose(unknowns @ design_matrix(*table).T, signal.log().numpy())


def test_two_shells_need_no_b0():
    assert condition(np.r_[np.full(10, 500.0), np.full(10, 1500.0)], shell(20)) < 100


def test_colours_are_those_of_the_axes():
    colours = direction_colour(-torch.eye(3), torch.tensor([1.0, 0.5, 0.0]))
    assert colours.tolist() == [[255, 0, 0], [0, 128, 0], [0, 0, 0]]


@pytest.fixture(scope="module")
def human(shared_data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signals (voxels, volumes), b-values and directions of ``dwi_multishell_human``, b ≤ 1000."""
    nibabel = pytest.importorskip("nibabel")
    folder: Path = shared_data("dwi_multishell_human")
    name = "b1k_b2k_example_slices_24_38"
    image = nibabel.load(folder / f"{name}.nii.gz").get_fdata(dtype=np.float32)
    mask = nibabel.load(folder / f"{name}_mask.nii.gz").get_fdata() > 0
    b_values = np.loadtxt(folder / "b1k_b2k.bval")
    directions = np.loadtxt(folder / "b1k_b2k.bvec").T
    low = b_values < 1100
    return image[mask][:, low], b_values[low], directions[low]


@pytest.mark.parametrize(("method", "theirs"), [("weighted", "WLS"), ("ordinary", "OLS")])
def test_agrees_with_dipy_on_a_human_brain(method, theirs, human):
    dti = pytest.importorskip("dipy.reconst.dti")
    gradients = pytest.importorskip("dipy.core.gradients")
    signals, b_values, directions = human
    table = gradients.gradient_table(b_values, bvecs=directions, b0_threshold=50)
    # In float32 DIPY takes the logarithm in float32 and loses seven digits.
    expected = dti.TensorModel(table, fit_method=theirs, return_S0_hat=True).fit(
        signals.astype(np.float64)
    )

    # DIPY's minimum, so that voxels that hold a signal without a logarithm are compared too.
    fit = TensorLeastSquares(b_values, table.bvecs, method, 1e-4).fit(torch.as_tensor(signals))

    assert (signals <= 0).any(), "the data hold signals without a logarithm"
    values = fit.eigenvalues
    assert np.abs(values.numpy() - expected.evals).max() < 1e-12
    assert np.abs(fractional_anisotropy(values).numpy() - expected.fa).max() < 1e-6
    assert np.abs(mean_diffusivity(values).numpy() - expected.md).max() < 1e-12
    assert np.abs(axial_diffusivity(values).numpy() - expected.ad).max() < 1e-12
    assert np.abs(radial_diffusivity(values).numpy() - expected.rd).max() < 1e-12
    assert np.allclose(fit.s0.numpy(), np.ravel(expected.S0_hat), rtol=1e-6)
    clear = expected.evals[:, 0] - expected.evals[:, 1] > 1e-6
    cosines = np.abs((fit.principal.numpy() * expected.evecs[:, :, 0]).sum(axis=1))
    assert cosines[clear].min() > 1 - 1e-9
