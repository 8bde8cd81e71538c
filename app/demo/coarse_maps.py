"""A DICOM study for super-resolution: coarse PD, T1 and T2 maps of the phantom, sharp images.

The images follow from the maps by their signal equations, whose parameters stand in the headers;
the maps are measured at half of that resolution in the plane.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.demo.brain_phantom import BrainPhantom, brain_phantom
from app.demo.mr_series import write_mr_series
from models.superres.degradation import KSpaceTruncation, low_resolution_shape
from models.superres.partial_volume import averaging_signals, maps_of_averages
from models.superres.signal import SpinEcho, SpoiledGradientEcho, WeightedSequence
from operators.vocabulary.quantity import QUANTITIES

_NAME = "quantmap brain phantom, study 2"
UID_ROOT = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, _NAME).int >> 8}"
FACTORS = (1.0, 2.0, 2.0)
"""Voxels of the maps over those of the images: slices, rows, columns."""
_SEED = 21
_NOISE = 0.01
"""Standard deviation over the mean in the head."""
_STEPS = {"proton_density": 0.01, "t1": 0.2, "t2": 0.1}
"""One stored unit: %, ms, ms."""
_UNITS = {"proton_density": "%", "t1": "ms", "t2": "ms"}
_COMMON: dict[str, Any] = {
    "PatientName": "QUANTMAP^PHANTOM",
    "PatientID": "QUANTMAP-PHANTOM",
    "PatientSex": "O",
    "StudyDate": "20260101",
    "StudyTime": "130000",
    "StudyID": "2",
    "StudyDescription": "Simulated brain phantom, coarse maps",
    "AcquisitionDate": "20260101",
    "Manufacturer": "QuantMAP",
    "ManufacturerModelName": "Brain phantom",
    "MagneticFieldStrength": 3.0,
    "BodyPartExamined": "BRAIN",
}
_GUIDES: dict[str, tuple[WeightedSequence, dict[str, Any]]] = {
    "t1w": (
        SpoiledGradientEcho(repetition_time=25, flip_angle=30),
        {
            "SeriesNumber": 4, "ScanningSequence": "GR", "SequenceVariant": "SP",
            "MRAcquisitionType": "3D", "RepetitionTime": 25.0, "EchoTime": 4.0,
            "FlipAngle": 30.0, "EchoTrainLength": 1, "SeriesDescription": "T1w SPGR",
        },
    ),
    "t2w": (
        SpinEcho(repetition_time=4000, echo_time=100),
        {
            "SeriesNumber": 5, "ScanningSequence": "SE", "SequenceVariant": "NONE",
            "MRAcquisitionType": "2D", "RepetitionTime": 4000.0, "EchoTime": 100.0,
            "FlipAngle": 90.0, "EchoTrainLength": 1, "SeriesDescription": "T2w spin echo",
        },
    ),
}  # fmt: skip


def true_maps(phantom: BrainPhantom) -> np.ndarray:
    """(3, slices, rows, columns) PD relative to water, T1 and T2 in ms; zero in air.

    The tissues of a voxel add their signals, as in a scan.
    """
    signals = sum(
        phantom.shares[name]
        * averaging_signals(
            np.stack([phantom.values(name, one) for one in ("proton_density", "t1", "t2")])
        )
        for name in phantom.shares
    )
    return maps_of_averages(np.asarray(signals, dtype=np.float32))


def write_coarse_study(folder: Path) -> int:
    """Simulate the study and write it, one folder per series.

    Args:
        folder: made when absent.

    Returns:
        Number of files.
    """
    phantom, random = brain_phantom(), np.random.default_rng(_SEED)
    truth = torch.from_numpy(true_maps(phantom))
    head = truth[0].numpy() > 0
    coarse = low_resolution_shape(tuple(truth.shape[1:]), FACTORS)
    measured = KSpaceTruncation(tuple(truth.shape[1:]), coarse)(truth[None])[0].numpy()
    affine = _coarse_affine(phantom.affine, truth.shape[1:], coarse)
    files = 0
    for number, (name, values) in enumerate(zip(_STEPS, measured, strict=True), start=1):
        values += _NOISE * truth[number - 1].numpy()[head].mean() * _normal(random, values)
        percent = 100.0 if name == "proton_density" else 1.0
        label = QUANTITIES[name].label
        attributes = {
            "SeriesNumber": number,
            "SeriesDescription": f"{label} map [{_UNITS[name]}]",
            "ImageType": ["DERIVED", "PRIMARY", "QMAP", label],
            "RescaleType": _UNITS[name],
        }
        files += len(
            write_mr_series(
                folder / f"{number}_{name}",
                values * percent,
                affine,
                uid_prefix=UID_ROOT,
                common=_COMMON | attributes,
                rescale_slope=_STEPS[name],
            )
        )
    for name, (sequence, attributes) in _GUIDES.items():
        image = sequence.signal(*truth.clamp(min=1e-6)).numpy() * head
        image += _NOISE * image[head].mean() * _normal(random, image)
        files += len(
            write_mr_series(
                folder / f"{attributes['SeriesNumber']}_{name}",
                np.rint(np.abs(image) * (3000 / image.max())),
                phantom.affine,
                uid_prefix=UID_ROOT,
                common=_COMMON | attributes,
            )
        )
    return files


def _normal(random: np.random.Generator, like: np.ndarray) -> np.ndarray:
    return random.standard_normal(like.shape, dtype=np.float32)


def _coarse_affine(
    affine: np.ndarray, shape: tuple[int, ...], coarse: tuple[int, ...]
) -> np.ndarray:
    """Affine of truncated maps: sample n/2 of every axis stays in its place."""
    wider = np.array(shape) / np.array(coarse)
    made = affine.copy()
    made[:3, :3] = affine[:3, :3] * wider
    centre = affine[:3, :3] @ (np.array(shape) // 2) + affine[:3, 3]
    made[:3, 3] = centre - made[:3, :3] @ (np.array(coarse) // 2)
    return made
