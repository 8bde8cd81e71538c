"""Derivatives of the simulated signal against finite differences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.cest_mt.pools import ExchangingPool, Lineshape, PoolModel
from models.cest_mt.schedule import SaturationSchedule, load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.spin_lock import two_pool_spin_lock

# T1 s, T2 s, solute fraction and rate, semisolid fraction and rate, B0 ppm, B1; two voxels.
POINT = torch.tensor(
    [
        [1.0, 0.05, 2e-3, 160.0, 0.12, 30.0, 0.05, 1.1],
        [1.6, 0.09, 4e-3, 300.0, 0.06, 60.0, -0.1, 0.9],
    ],
    dtype=torch.float64,
)
STEP = torch.tensor([1e-4, 1e-6, 1e-7, 1e-2, 1e-5, 1e-3, 1e-5, 1e-5], dtype=torch.float64)


def _shortened(name: str, number: int = 5) -> SaturationSchedule:
    """The first ``number`` images of a protocol, for speed."""
    schedule = load_schedule(name)
    return replace(
        schedule,
        images=schedule.images[:number],
        offsets=schedule.offsets[:number],
        b1=schedule.b1[:number],
    )


def _signal(
    schedule: SaturationSchedule,
    point: torch.Tensor,
    lineshape: Lineshape = Lineshape.FULL,
    teacher: torch.Tensor | None = None,
) -> torch.Tensor:
    t1, t2, f_s, k_s, f_mt, k_mt, b0, b1 = point.unbind(-1)
    pools = PoolModel(
        t1,
        t2,
        (ExchangingPool(f_s, k_s, t1, 0.04, 3.5),),
        ExchangingPool(f_mt, k_mt, t1, 4e-5, 0.0),
        lineshape,
    )
    return simulate(schedule, pools, b0_shift_ppm=b0, b1_scale=b1, teacher=teacher)


def _check(signal, tolerance: float = 1e-5) -> None:  # type: ignore[no-untyped-def]
    """Compare forward- and reverse-mode derivatives with central differences.

    The derivative by each parameter is compared relative to its largest value in the voxel.
    """
    point = POINT.clone().requires_grad_()
    weights = torch.linspace(-1, 1, signal(POINT).numel(), dtype=torch.float64)
    (reverse,) = torch.autograd.grad((signal(point).flatten() * weights).sum(), point)
    for column in range(POINT.shape[1]):
        tangent = torch.zeros_like(POINT)
        tangent[:, column] = 1.0
        step = tangent * STEP[column]
        numeric = (
            8 * (signal(POINT + step) - signal(POINT - step))
            - (signal(POINT + 2 * step) - signal(POINT - 2 * step))
        ) / (12 * STEP[column])
        _, forward = torch.func.jvp(signal, (POINT,), (tangent,))
        scale = numeric.abs().max()
        assert float((forward - numeric).abs().max() / scale) < tolerance
        along = (numeric.flatten() * weights).sum()
        assert float((reverse[:, column].sum() - along).abs() / scale) < tolerance


@pytest.mark.parametrize("name", ["mrf_mt_3t", "mrf_amide_3t", "mrf_larginine_3t", "aptw_3t"])
def test_every_parameter_has_its_derivative(name: str) -> None:
    schedule = _shortened(name, 2 if name == "mrf_larginine_3t" else 5)
    _check(lambda point: _signal(schedule, point))


@pytest.mark.parametrize(
    "lineshape", [Lineshape.LORENTZIAN, Lineshape.GAUSSIAN, Lineshape.SUPER_LORENTZIAN]
)
def test_so_it_has_with_every_lineshape(lineshape: Lineshape) -> None:
    schedule = _shortened("mrf_mt_3t")
    _check(lambda point: _signal(schedule, point, lineshape))


def test_so_it_has_when_taught() -> None:
    schedule = _shortened("mrf_amide_3t")
    teacher = _signal(schedule, POINT) * 0.99
    _check(lambda point: _signal(schedule, point, teacher=teacher))


@pytest.mark.parametrize("semisolid", [True, False])
def test_so_has_the_approximation(semisolid: bool) -> None:
    schedule = _shortened("mrf_amide_3t")

    def signal(point: torch.Tensor) -> torch.Tensor:
        t1, t2, f_s, k_s, f_mt, k_mt, b0, b1 = point.unbind(-1)
        solute = (ExchangingPool(f_s, k_s, t1, 0.04, 3.5),)
        mt = ExchangingPool(f_mt, k_mt, t1, 4e-5, 0.0)
        pools = PoolModel(t1, t2, (), mt) if semisolid else PoolModel(t1, t2, solute)
        # A parameter of the pool that is absent has the derivative of this term.
        absent = 1e-3 * (point / STEP).sum(-1, keepdim=True) * 1e-6
        return two_pool_spin_lock(schedule, pools, b0_shift_ppm=b0, b1_scale=b1) + absent

    _check(signal)


def test_single_precision_gradients_are_those_of_double() -> None:
    schedule = _shortened("mrf_mt_3t")
    gradients = []
    for dtype in (torch.float64, torch.float32):
        point = POINT.to(dtype, copy=True).requires_grad_()
        _signal(schedule, point).sum().backward()
        assert point.grad is not None
        gradients.append(point.grad.double())
    # B0 (column 6) has derivatives near zero between large ones of other images.
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)


def test_a_batch_of_jacobians_by_vmap() -> None:
    schedule = _shortened("mrf_mt_3t")
    jacobian = torch.func.jacfwd(lambda point: _signal(schedule, point))(POINT)
    assert jacobian.shape == (2, 5, 2, 8)
    assert not jacobian[0, :, 1].any()
    point = POINT.clone().requires_grad_()
    (row,) = torch.autograd.grad(_signal(schedule, point)[1, 3], point)
    torch.testing.assert_close(jacobian[1, 3], row, rtol=1e-9, atol=1e-12)
