"""Acquisitions made from arrays, for tests of what pipelines do with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from operators.inference.bundle import Bundle, load_bundles
from operators.vocabulary.acquisition import (
    Acquisition,
    MapProtocol,
    Protocol,
    SeriesKind,
    SourceSeries,
)
from operators.vocabulary.quantity import QUANTITIES

ROOT = Path(__file__).resolve().parents[3]
FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


def affine(spacing: tuple[float, float, float] = (4.0, 2.0, 2.0)) -> np.ndarray:
    """Axial slices from feet to head, rows to posterior, columns to the left; mm."""
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2], matrix[3, 3] = *spacing, 1.0
    matrix[:3, 3] = -40.0, -50.0, 10.0
    return matrix


@pytest.fixture
def acquisition_of() -> Callable[..., Acquisition]:
    """Makes an acquisition of (slices, rows, columns, volumes) pixels and their protocol."""

    def make(
        pixels: np.ndarray,
        protocol: Protocol,
        *,
        body_part: str = "HEAD",
        geometry: hd.VolumeGeometry | None = None,
        number: int = 7,
    ) -> Acquisition:
        header = Dataset()
        header.SeriesInstanceUID = generate_uid(entropy_srcs=[str(number), type(protocol).__name__])
        header.SeriesNumber = number
        header.BodyPartExamined = body_part
        kinds = {
            "GradientTable": SeriesKind.DIFFUSION,
            "SaturationSchedule": SeriesKind.SATURATION,
            "MapProtocol": SeriesKind.QUANTITY_MAP,
            "WeightedImage": SeriesKind.WEIGHTED_IMAGE,
        }
        return Acquisition(
            kind=kinds[type(protocol).__name__],
            protocol=protocol,
            geometry=geometry
            or hd.VolumeGeometry(
                affine(), pixels.shape[:3], "PATIENT", frame_of_reference_uid=FRAME_OF_REFERENCE
            ),
            source=SourceSeries(header, ()),
            volumes=pixels.shape[3],
            read=lambda: pixels.astype(np.float32),
        )

    return make


@pytest.fixture
def map_of(acquisition_of: Callable[..., Acquisition]) -> Callable[..., Acquisition]:
    """Makes an acquisition of a (slices, rows, columns) map of a named quantity."""

    def make(values: np.ndarray, quantity: str, **more: object) -> Acquisition:
        return acquisition_of(values[..., None], MapProtocol(QUANTITIES[quantity]), **more)

    return make


@pytest.fixture(scope="session")
def superres_bundles() -> dict[str, Bundle]:
    """The network of super-resolution that ships."""
    return load_bundles(ROOT / "models", "superres")
