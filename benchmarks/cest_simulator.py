"""Simulated fingerprints of the 3 T protocols: our batched simulator beside its peers."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pypulseq
import torch
import yaml

from benchmarks.table import Row, print_table
from models.cest_mt.pools import ExchangingPool, PoolModel
from models.cest_mt.propagator import exponential
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.spin_lock import two_pool_spin_lock
from operators.inference.cores import available_cores

_DATA = Path(os.environ.get("QUANTMAP_DATA", Path(__file__).parents[2] / "shared" / "data"))
_VOXELS = 32_768
_REPEATS = 3
# 273,790 entries of 30 images in 554.7 s on 18 workers, as its authors print.
_PUBLISHED = ("open-py-cest-mrf (C++, 18 workers), published", 554.7 / 273_790)

_AMIDE = ExchangingPool(fraction=2e-3, exchange_rate=160.0, t1=1.0, t2=0.04, shift=3.5)
_ARGININE = ExchangingPool(fraction=1e-3, exchange_rate=300.0, t1=2.8, t2=0.04, shift=3.0)
_SEMISOLID = ExchangingPool(fraction=0.12, exchange_rate=30.0, t1=1.0, t2=4e-5, shift=0.0)
_TISSUE = PoolModel(1.0, 0.06, (_AMIDE,), _SEMISOLID)
_PHANTOM = PoolModel(2.8, 0.6, (_ARGININE,))

_CASES = (
    (
        "MT fingerprint, 31 images, 3 pools",
        "mrf_mt_3t",
        _TISSUE,
        "pulseq_cest_protocols/seq-library/MRF_CEST_3T_003_13SL_DC50_2500ms_MT/"
        "MRF_CEST_3T_003_13SL_DC50_2500ms_MT.seq",
    ),
    (
        "L-arginine fingerprint, 30 images, 2 pools",
        "mrf_larginine_3t",
        _PHANTOM,
        "cest_mrf_phantom/deep_reco_example/acq_protocol3T.seq",
    ),
)


def run() -> list[Row]:
    """Seconds per voxel (a whole fingerprint of one voxel) in float32 on every core.

    BMCTool simulates one voxel at a time from the published sequence, whose reading is not
    counted; rows with it are left out where the sequence is absent.
    """
    torch.set_num_threads(available_cores())
    rows = []
    for name, protocol, pools, sequence in _CASES:
        schedule, voxels = load_schedule(protocol), _voxels(pools)
        ours = _best(lambda s=schedule, v=voxels: simulate(s, v)) / _VOXELS  # type: ignore[misc]
        if (_DATA / sequence).exists():
            rows.append(Row(f"{name}, per voxel", ours, *_bmctool(_DATA / sequence, pools)))
        if len(pools.exchanging) == 1:
            rows.append(Row(f"{name}, per voxel", ours, *_PUBLISHED))
    semisolid = replace(_voxels(_TISSUE), solutes=())
    schedule = load_schedule("mrf_mt_3t")
    exact = _best(lambda: simulate(schedule, semisolid)) / _VOXELS
    quick = _best(lambda: two_pool_spin_lock(schedule, semisolid)) / _VOXELS
    rows.append(Row("MT fingerprint, two-pool approximation, per voxel", quick, "exact", exact))
    return rows + _exponentials()


def _voxels(pools: PoolModel) -> PoolModel:
    """The model with another T1 and T2 in every voxel."""
    t1 = pools.water_t1 * torch.linspace(0.7, 1.3, _VOXELS)
    return replace(pools, water_t1=t1, water_t2=pools.water_t2 * torch.linspace(1.3, 0.7, _VOXELS))


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        with torch.no_grad():
            work()
        times.append(time.perf_counter() - start)
    return min(times)


def _bmctool(path: Path, pools: PoolModel) -> tuple[str, float]:
    """Name of the peer and its seconds for one voxel, once its signal is seen to be ours."""
    from bmctool.parameters import Parameters
    from bmctool.simulation import BMCSim

    def entry(pool: ExchangingPool) -> dict[str, object]:
        return {
            "f": pool.fraction,
            "k": pool.exchange_rate,
            "t1": pool.t1,
            "t2": pool.t2,
            "dw": pool.shift,
        }

    schedule = load_schedule(path)
    model = {
        "water_pool": {"f": 1.0, "t1": pools.water_t1, "t2": pools.water_t2},
        "cest_pool": {str(index): entry(pool) for index, pool in enumerate(pools.exchanging)},
        "b0": schedule.field_strength,
        "gamma": 267.5154109126009,
        "b0_inhom": 0.0,
        "rel_b1": 1.0,
        "reset_init_mag": False,
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pypulseq, about the age of the file
        settings = Path(folder) / "pools.yaml"
        settings.write_text(yaml.safe_dump(model))
        sequence = pypulseq.Sequence()
        sequence.read(str(path), detect_rf_use=False)
        simulation = BMCSim(Parameters.from_yaml(settings), sequence, verbose=False)
        simulation.run()  # once to fill pypulseq's cache of blocks
        simulation = BMCSim(Parameters.from_yaml(settings), sequence, verbose=False)
        start = time.perf_counter()
        simulation.run()
        seconds = time.perf_counter() - start
        _, signal = simulation.get_zspec(return_abs=False)
    # BMCTool leaves out dead times and restarts the phase at every image.
    np.testing.assert_allclose(simulate(schedule, pools)[0], signal, rtol=0, atol=2e-3)
    return f"BMCTool {version('bmctool')}", seconds


def _exponentials() -> list[Row]:
    """8,192 exponentials of a spin-lock pulse with three pools, three ways."""
    random = torch.Generator().manual_seed(0)
    generator = torch.randn(9, 10, 8192, generator=random) * 20
    generator[:9, :9].diagonal()[:] -= 60.0
    matrices = generator[:, :9].movedim(-1, 0).contiguous()
    ours = _best(lambda: exponential(generator))

    def eigen() -> torch.Tensor:
        values, vectors = torch.linalg.eig(matrices)
        return torch.linalg.solve(vectors, vectors * values.exp()[:, None], left=False).real

    name = "8,192 exponentials of 9 × 9"
    return [
        Row(name, ours, "torch.linalg.matrix_exp", _best(lambda: torch.matrix_exp(matrices))),
        Row(name, ours, "eigenvectors by torch.linalg.eig", _best(eigen)),
    ]


if __name__ == "__main__":
    print_table(run())
