"""Our kurtosis against DIPY's, our NODDI against AMICO's, on a real series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.amico_noddi import amico_python, fit_noddi
from models.diffusion.evaluation_series import best_subset, human_series
from models.diffusion.kurtosis_fit import KurtosisLeastSquares
from models.diffusion.multi_shell import adapt_shells
from models.diffusion.noddi import noddi_signal
from models.diffusion.noddi_fit import NoddiGaussNewton
from models.diffusion.prior import NETWORKS, onnx_network
from models.diffusion.scalars import fractional_anisotropy
from models.diffusion.series import Series
from models.diffusion.tensor_fit import TensorLeastSquares

SharedData = Callable[[str], Path]


@pytest.fixture(scope="module")
def human(shared_data: SharedData) -> Series:
    return human_series(shared_data("dwi_multishell_human").parent)


def _signals(series: Series) -> np.ndarray:
    return series.signals[series.brain].astype(np.float64)


def test_kurtosis_equals_dipys(human: Series) -> None:
    gradients = pytest.importorskip("dipy.core.gradients")
    dki = pytest.importorskip("dipy.reconst.dki")
    scheme = gradients.gradient_table(human.b_values, bvecs=human.directions, b0_threshold=50)
    signals = _signals(human)[::4]
    theirs = dki.DiffusionKurtosisModel(scheme, fit_method="WLS").fit(np.maximum(signals, 1e-4))
    table = human.b_values, human.directions
    plain = KurtosisLeastSquares(*table, constrained=False, minimum_signal=1e-4)
    constrained = KurtosisLeastSquares(*table, minimum_signal=1e-4)
    ours, without_holes = (fit.fit(torch.from_numpy(signals)) for fit in (plain, constrained))
    # DIPY's closed form loses digits where eigenvalues are close, and cuts at -3/7 and 10.
    sound = (ours.eigenvalues[:, 2] > 5e-5).numpy() & ~without_holes.constrained.numpy()
    assert sound.mean() > 0.6
    np.testing.assert_allclose(ours.axial_kurtosis[sound], theirs.ak(-10, 10)[sound], atol=1e-6)
    np.testing.assert_allclose(ours.radial_kurtosis[sound], theirs.rk(-10, 10)[sound], atol=5e-3)
    np.testing.assert_allclose(ours.mean_kurtosis[sound], theirs.mk(-10, 10)[sound], atol=2e-2)
    assert np.median(np.abs(ours.mean_kurtosis.numpy() - theirs.mk(-10, 10))[sound]) < 1e-4
    assert (theirs.mk(-10, 10) < 0).mean() > 0.01
    assert (without_holes.mean_kurtosis >= 0).all()


def test_kurtosis_of_white_matter_is_what_the_field_reports(human: Series) -> None:
    fit = KurtosisLeastSquares(human.b_values, human.directions).fit(
        torch.from_numpy(_signals(human))
    )
    low = human.b_values <= 1000
    tensor = TensorLeastSquares(human.b_values[low], human.directions[low]).fit(
        torch.from_numpy(_signals(human)[:, low])
    )
    white = fractional_anisotropy(tensor.eigenvalues) > 0.45
    assert float(fit.mean_kurtosis[white].median()) == pytest.approx(1.02, abs=0.04)


Noddi = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def amico_noddi(
    human: Series, shared_data: SharedData, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[np.ndarray], Noddi]:
    """AMICO's maps (NDI, ODI, FWF) and directions from some volumes of the human series."""
    if amico_python() is None:
        pytest.skip("AMICO is not installed (`make amico` makes an environment of its own for it)")
    data = shared_data("dwi_multishell_human")
    name = "b1k_b2k_example_slices_24_38"
    files = (
        data / f"{name}.nii.gz",
        data / f"{name}_mask.nii.gz",
        data / "b1k_b2k.bval",
        data / "b1k_b2k.bvec",
    )

    def maps(volumes: np.ndarray) -> Noddi:
        found = fit_noddi(files, volumes, tmp_path_factory.mktemp("amico"), threads=1)
        inside = human.brain[[0, 2]]
        maps, directions = (
            np.asarray(grid, dtype=np.float64).transpose(2, 1, 0, 3)[inside]
            for grid in (found.maps, found.directions)
        )
        return maps, directions

    return maps


@pytest.mark.slow
def test_noddi_agrees_with_amico_and_needs_fewer_volumes(
    human: Series, amico_noddi: Callable[[np.ndarray], Noddi]
) -> None:
    signals = torch.from_numpy(_signals(human))
    theirs, _ = amico_noddi(np.arange(len(human.b_values)))
    ours = NoddiGaussNewton(human.b_values, human.directions).fit(signals)
    # Where there is next to no tissue, density and dispersion mean nothing.
    tissue = theirs[:, 2] < 0.8
    for index, name in enumerate(("ndi", "odi", "fwf")):
        one, other = getattr(ours, name).numpy()[tissue], theirs[tissue, index]
        assert np.corrcoef(one, other)[0, 1] > 0.97, name
        assert abs(np.median(one - other)) < 0.01, name

    used = np.concatenate((best_subset(human, 10, 1000), best_subset(human, 10, 2000)[1:]))
    few, directions = amico_noddi(used)
    run = onnx_network(NETWORKS / "prior_dti" / "model.onnx", threads=1)
    shells = adapt_shells(
        human.signals[..., used],
        human.brain,
        human.b_values[used],
        human.directions[used],
        (2.0, 2.0, 2.0),
        run,
    )
    adapted = shells.noddi()
    for index, name in enumerate(("ndi", "odi")):
        amico_error = np.abs(few - theirs)[:, index].mean()
        our_error = float((getattr(adapted, name) - getattr(ours, name)).abs().mean())
        assert our_error < 0.7 * amico_error

    left = np.setdiff1d(np.flatnonzero(human.b_values > 50), used)
    predicted = noddi_signal(
        torch.ones(len(few)),
        *(torch.as_tensor(few[:, i], dtype=torch.float32).clamp(0.002, 0.998) for i in range(3)),
        torch.as_tensor(directions, dtype=torch.float32),
        torch.as_tensor(human.b_values, dtype=torch.float32),
        torch.as_tensor(human.directions, dtype=torch.float32),
    ).double()
    # AMICO gives no S0: the one that suits its own prediction best.
    s0 = (predicted[:, used] * signals[:, used]).sum(1) / predicted[:, used].square().sum(1)
    amico_rmse = (s0[:, None] * predicted - signals)[:, left].square().mean().sqrt()
    mine = shells.predict(human.b_values[left], human.directions[left])
    our_rmse = (mine - signals[:, left]).square().mean().sqrt()
    assert our_rmse < amico_rmse
