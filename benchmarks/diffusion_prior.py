"""Kurtosis and NODDI beside DIPY and AMICO on one real series, and the whole adapted pipeline.

AMICO's row is there where ``make amico`` was run.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from benchmarks.amico_noddi import amico_python, fit_noddi
from benchmarks.table import Row
from models.diffusion.evaluation_series import human_series
from models.diffusion.kurtosis_fit import KurtosisLeastSquares
from models.diffusion.noddi_fit import NoddiGaussNewton
from models.diffusion.prior import NETWORKS, onnx_network
from models.diffusion.series import Series
from models.diffusion.timing import adapted_seconds, large_series

_DATA = Path(
    os.environ.get("QUANTMAP_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
_THREADS = 2
_REPEATS = 3
_SECONDS_FOR_PIPELINE = 90.0


def run() -> list[Row]:
    """Rows of this benchmark; every tool has two threads."""
    torch.set_num_threads(_THREADS)
    series = human_series(_DATA)
    signals = torch.from_numpy(series.signals[series.brain])
    size = f"{signals.shape[0]} voxels x {signals.shape[1]}"
    kurtosis = KurtosisLeastSquares(series.b_values, series.directions)
    noddi = NoddiGaussNewton(series.b_values, series.directions)
    large = large_series()
    network = onnx_network(NETWORKS / "prior_dti" / "model.onnx", _THREADS)
    rows = [
        Row(
            f"DKI with MK, AK, RK, {size}",
            _best(lambda: kurtosis.fit(signals)),
            f"dipy {version('dipy')}",
            _dipy(series, signals.numpy().astype(np.float64)),
        ),
        Row(
            f"adapted tensor, {' x '.join(map(str, large.signals.shape))}",
            adapted_seconds(large, network),
            "bound",
            _SECONDS_FOR_PIPELINE,
        ),
    ]
    if amico_python() is not None:
        with tempfile.TemporaryDirectory() as folder:
            theirs = fit_noddi(_files(), np.arange(signals.shape[1]), Path(folder), _THREADS)
        peer = f"AMICO {theirs.version} without kernels"
        rows.append(Row(f"NODDI, {size}", _best(lambda: noddi.fit(signals)), peer, theirs.seconds))
    return rows


def _files() -> tuple[Path, Path, Path, Path]:
    folder = _DATA / "dwi_multishell_human"
    name = "b1k_b2k_example_slices_24_38"
    return (
        folder / f"{name}.nii.gz",
        folder / f"{name}_mask.nii.gz",
        folder / "b1k_b2k.bval",
        folder / "b1k_b2k.bvec",
    )


def _once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _best(work: Callable[[], object]) -> float:
    return min(_once(work) for _ in range(_REPEATS))


def _dipy(series: Series, signals: np.ndarray) -> float:
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dki import DiffusionKurtosisModel

    table = gradient_table(series.b_values, bvecs=series.directions, b0_threshold=50)
    model = DiffusionKurtosisModel(table, fit_method="WLS")

    def work() -> None:
        fit = model.fit(np.maximum(signals, 1e-4))
        for scalar in (fit.mk, fit.ak, fit.rk):
            scalar(min_kurtosis=0, max_kurtosis=10)

    return _once(work)
