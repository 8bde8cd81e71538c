"""How close the two-pool spin-lock approximation comes to the exact simulation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.cest_mt.pools import ExchangingPool, PoolModel
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.spin_lock import two_pool_spin_lock

VOXELS = 200


def _draw(low: float, high: float, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(VOXELS, dtype=torch.float64, generator=random)


T1, T2 = _draw(0.6, 2.5, 1), _draw(0.03, 0.2, 2)
B0, B1 = _draw(-0.3, 0.3, 3), _draw(0.8, 1.2, 4)
SEMISOLID = PoolModel(
    T1, T2, mt=ExchangingPool(_draw(0.01, 0.3, 5), _draw(5, 100, 6), T1, 4e-5, 0.0)
)
AMIDE = PoolModel(T1, T2, (ExchangingPool(_draw(5e-4, 0.01, 5), _draw(20, 500, 6), T1, 0.04, 3.5),))


@pytest.mark.parametrize(
    ("protocol", "pools", "mean", "worst"),
    [
        ("mrf_mt_3t", SEMISOLID, 1e-3, 4e-3),
        ("mrf_amide_3t", SEMISOLID, 3e-3, 8e-3),
        ("mrf_amide_3t", AMIDE, 5e-3, 0.02),
    ],
)
def test_it_is_close_to_the_exact_signal(
    protocol: str, pools: PoolModel, mean: float, worst: float
) -> None:
    schedule = load_schedule(protocol)
    exact = simulate(schedule, pools, b0_shift_ppm=B0, b1_scale=B1)
    near = two_pool_spin_lock(schedule, pools, b0_shift_ppm=B0, b1_scale=B1)
    assert near.shape == exact.shape
    assert float((near - exact).square().mean().sqrt()) < mean
    assert float((near - exact).abs().max()) < worst


def test_a_teacher_takes_the_place_of_the_image_before() -> None:
    schedule = load_schedule("mrf_mt_3t")
    chained = two_pool_spin_lock(schedule, SEMISOLID)
    taught = two_pool_spin_lock(schedule, SEMISOLID, teacher=chained)
    torch.testing.assert_close(taught, chained)
    other = two_pool_spin_lock(schedule, SEMISOLID, teacher=torch.ones_like(chained))
    assert not torch.allclose(other, chained)


def test_numbers_are_one_voxel() -> None:
    pools = PoolModel(1.0, 0.05, mt=ExchangingPool(0.1, 30.0, 1.0, 4e-5, 0.0))
    signal = two_pool_spin_lock(load_schedule("mrf_mt_3t"), pools)
    assert signal.shape == (1, 31)
    assert float(signal[0, 0]) == 1.0


def test_no_exchange_is_a_lone_water() -> None:
    schedule = load_schedule("mrf_amide_3t")
    pool = ExchangingPool(0.002, 0.0, 1.0, 0.04, 3.5)
    solute = two_pool_spin_lock(schedule, PoolModel(1.0, 0.05, (pool,)))
    semisolid = two_pool_spin_lock(schedule, PoolModel(1.0, 0.05, mt=replace(pool, t2=1e-5)))
    torch.testing.assert_close(solute, semisolid)
    torch.testing.assert_close(solute, simulate(schedule, PoolModel(1.0, 0.05)), atol=2e-3, rtol=0)


def test_what_it_cannot_do_is_refused() -> None:
    schedule = load_schedule("mrf_mt_3t")
    with pytest.raises(ValueError, match="water and one pool, not 2; use simulate"):
        two_pool_spin_lock(schedule, replace(SEMISOLID, solutes=AMIDE.solutes))
    with pytest.raises(ValueError, match="trains of equal spin-lock pulses"):
        two_pool_spin_lock(load_schedule("wasabi_3t"), SEMISOLID)
