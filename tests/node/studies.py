"""Small studies that the node analyses in seconds, each under UIDs of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.demo.mr_series import write_mr_series
from app.demo.signals import half_sphere

_SHAPE = (3, 14, 16)
_AFFINE = np.array([[0, 0, 2.0, -16], [0, 2.0, 0, -14], [3.0, 0, 0, 5], [0, 0, 0, 1]])
OBJECTS = _SHAPE[0] * 7
"""SOP Instances of each study."""


def study_uid(number: int) -> str:
    """Study Instance UID of a study."""
    return f"1.2.826.0.1.3680043.10.77.{number}"


def write_study(folder: Path, number: int) -> list[Path]:
    """One b0 and 6 directions of b = 1000 s/mm² of a ball in noise; the files."""
    vectors = np.concatenate([np.zeros((1, 3)), half_sphere(6)])
    z, y, x = np.indices(_SHAPE)
    ball = ((x - 7.5) / 6) ** 2 + ((y - 6.5) / 5) ** 2 + ((z - 1) / 3) ** 2 < 1
    b_values = np.where(vectors.any(axis=1), 1000.0, 0.0)
    signal = 900 * ball[..., None] * np.exp(-b_values * 0.8e-3)
    noise = np.random.default_rng(number).normal(0, 6, signal.shape)
    return write_mr_series(
        folder,
        np.abs(signal + noise).round(),
        _AFFINE,
        uid_prefix=study_uid(number),
        common={
            "PatientName": "SECRET^NAME",
            "PatientID": "SECRET-ID",
            "AccessionNumber": f"A{number}",
            "SeriesDescription": "SECRET DESCRIPTION",
            "SeriesNumber": 1,
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
