"""Memory stays bounded: one series at a time, pixels once at float32."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from application_process import start

from app.demo.mr_series import write_mr_series
from app.demo.signals import half_sphere

_LIMIT = 2e9
_SHAPE = (82, 128, 128)


@pytest.mark.slow
def test_peak_memory_of_a_large_series(tmp_path: Path):
    """128 × 128 × 82 × 17, the size of a common clinical diffusion series."""
    directions = np.concatenate([np.zeros((1, 3)), half_sphere(16)])
    b_values = np.where(directions.any(axis=1), 1000.0, 0.0)
    z, y, x = np.indices(_SHAPE, dtype=np.float32)
    head = ((x - 64) / 50) ** 2 + ((y - 64) / 58) ** 2 + ((z - 41) / 38) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 8, (*_SHAPE, 17))
    signal = np.abs(800 * head[..., None] * np.exp(-b_values * 0.8e-3) + noise)
    write_mr_series(
        tmp_path / "study",
        signal.round(),
        np.array([[0, 0, 2.0, -128], [0, 2.0, 0, -128], [2.0, 0, 0, -80], [0, 0, 0, 1]]),
        uid_prefix="1.2.826.0.1.3680043.10.2",
        common={"ScanningSequence": "EP", "EchoTime": 80.0},
        per_volume=[
            {"DiffusionBValue": b, "DiffusionDirectionality": "DIRECTIONAL" if b else "NONE"}
            | ({"DiffusionGradientOrientation": direction.tolist()} if b else {})
            for b, direction in zip(b_values.tolist(), directions, strict=True)
        ],
    )
    process = start("-i", tmp_path / "study", "-o", tmp_path / "out")
    assert process.stderr is not None
    error = process.stderr.read()
    # Of this process and of those that it waited for, the worker included, and of no earlier test.
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, error
    peak = usage.ru_maxrss * 1024
    assert peak < _LIMIT, f"{peak / 1e9:.2f} GB"
