"""The application as its users start it, and a small study for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.demo.mr_series import write_mr_series
from app.demo.signals import half_sphere
from app.result_file import ResultFile

ROOT = Path(__file__).resolve().parents[2]

_SHAPE = (5, 20, 24)
_AFFINE = np.array([[0, 0, 2.0, -20], [0, 2.0, 0, -22], [3.0, 0, 0, 5], [0, 0, 0, 1]])
SECRETS = ("SECRET^NAME", "SECRET-ID", "SECRET DESCRIPTION")


def write_diffusion_series(folder: Path, number: int = 1, directions: int = 6) -> list[Path]:
    """One b0 and ``directions`` of b = 1000 s/mm² of a ball of 0.8e-3 mm²/s in noise."""
    vectors = np.concatenate([np.zeros((1, 3)), half_sphere(directions)])
    z, y, x = np.indices(_SHAPE)
    ball = ((x - 11.5) / 9) ** 2 + ((y - 9.5) / 8) ** 2 + ((z - 2) / 4) ** 2 < 1
    b_values = np.where(vectors.any(axis=1), 1000.0, 0.0)
    signal = 900 * ball[..., None] * np.exp(-b_values * 0.8e-3)
    noise = np.random.default_rng(number).normal(0, 6, signal.shape)
    return write_mr_series(
        folder,
        np.abs(signal + noise).round(),
        _AFFINE,
        uid_prefix="1.2.826.0.1.3680043.10.1",
        common={
            "PatientName": SECRETS[0],
            "PatientID": SECRETS[1],
            "SeriesDescription": SECRETS[2],
            "SeriesNumber": number,
            "StudyDate": "20260101",
            "StudyTime": "120000",
            "ScanningSequence": "EP",
            "EchoTime": 80.0,
            "RepetitionTime": 5000.0,
        },
        per_volume=[
            {"DiffusionBValue": b, "DiffusionDirectionality": "DIRECTIONAL" if b else "NONE"}
            | ({"DiffusionGradientOrientation": vector.tolist()} if b else {})
            for b, vector in zip(b_values.tolist(), vectors, strict=True)
        ],
    )


def start(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start the application; standard output and error are pipes."""
    inherited = {name: value for name, value in os.environ.items() if "HOLOSCAN" not in name}
    return subprocess.Popen(
        [sys.executable, "-m", "app", *map(str, arguments)],
        cwd=ROOT,
        env=inherited | dict(environment or {}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the application to its end."""
    process = start(*arguments, environment=environment)
    output, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


def result_in(folder: Path) -> ResultFile:
    """The result that was published in ``folder``."""
    result = ResultFile.read(folder / "result.json")
    assert result is not None, sorted(folder.iterdir())
    return result


def objects_in(folder: Path) -> dict[str, bytes]:
    """Every published file but ``result.json``, by its path relative to ``folder``."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != "result.json"
        and not any(part.startswith(".quantmap-") for part in path.relative_to(folder).parts)
    }
