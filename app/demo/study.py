"""A DICOM study of the brain phantom: relaxation maps, two fingerprints and diffusion."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.pm import RealWorldValueMapping
from rich.console import Console
from rich.progress import track

from app.demo.brain_phantom import BrainPhantom, brain_phantom
from app.demo.mr_series import write_mr_series
from app.demo.signals import (
    DIFFUSION_ECHO_TIME,
    diffusion_images,
    half_sphere,
    saturation_images,
)
from models.cest_mt.schedule import load_schedule
from models.cest_mt.specification import AMIDE_3T, MT_3T
from operators.vocabulary.quantity import QUANTITIES

_NAME = "quantmap brain phantom, study 1"
# One root for all UIDs of the study, the same in every run (PS3.5 B.2).
UID_ROOT = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, _NAME).int >> 8}"
_SEED = 20
_B_VALUE = 1000.0
_DIRECTIONS = 30
_UNWEIGHTED_VOLUMES = 2

_COMMON: dict[str, Any] = {
    "PatientName": "QUANTMAP^PHANTOM",
    "PatientID": "QUANTMAP-PHANTOM",
    "PatientSex": "O",
    "StudyDate": "20260101",
    "StudyTime": "120000",
    "StudyID": "1",
    "StudyDescription": "Simulated brain phantom",
    "AcquisitionDate": "20260101",
    "Manufacturer": "QuantMAP",
    "ManufacturerModelName": "Brain phantom",
    "MagneticFieldStrength": 3.0,
    "ImagingFrequency": 127.729,
    "BodyPartExamined": "BRAIN",
}

Series = tuple[str, np.ndarray, dict[str, Any], list[dict[str, Any]] | None, float | None]
"""Folder name, values, attributes of all images and of each volume, rescale slope."""


def write_study(folder: Path) -> int:
    """Simulate the study and write it, one folder per series.

    Args:
        folder: made when absent.

    Returns:
        Number of files.
    """
    files = 0
    phantom = brain_phantom()
    console = Console(stderr=True)
    series = _series(phantom, np.random.default_rng(_SEED))
    for name, values, attributes, per_volume, slope in track(
        series, "Simulating", total=5, console=console, disable=not console.is_terminal
    ):
        written = write_mr_series(
            folder / name,
            values,
            phantom.affine,
            uid_prefix=UID_ROOT,
            common=_COMMON | attributes,
            per_volume=per_volume,
            rescale_slope=slope,
        )
        files += len(written)
    return files


def _series(phantom: BrainPhantom, random: np.random.Generator) -> Iterator[Series]:
    yield _relaxation_map(phantom, 1, "t1", 0.1)
    yield _relaxation_map(phantom, 2, "t2", 0.05)
    for number, network in ((3, MT_3T), (4, AMIDE_3T)):
        schedule = load_schedule(network.protocol)
        images = saturation_images(phantom, schedule, network, random)
        attributes = {
            "SeriesNumber": number,
            "SeriesDescription": network.protocol,
            "ProtocolName": network.protocol,
            "ScanningSequence": "EP",
            "MRAcquisitionType": "3D",
            "RepetitionTime": 3500.0,
            "EchoTime": 11.0,
            "FlipAngle": 15.0,
        }
        times = [{"TemporalPositionIdentifier": index + 1} for index in range(images.shape[3])]
        yield f"{number}_{network.protocol}", images, attributes, times, None
    yield _diffusion(phantom, random)


def _relaxation_map(phantom: BrainPhantom, number: int, name: str, slope: float) -> Series:
    """A map in ms; ``slope`` ms are one stored unit."""
    quantity = QUANTITIES[name]
    mapping = RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=quantity.code.meaning,
        unit=quantity.unit,
        value_range=(0, 65535),
        slope=slope,
        intercept=0.0,
        quantity_definition=quantity.code,
    )
    attributes = {
        "SeriesNumber": number,
        "SeriesDescription": f"{quantity.label} map [ms]",
        "ImageType": ["DERIVED", "PRIMARY", "M", f"{quantity.label} MAP"],
        "RescaleType": "ms",
        "RealWorldValueMappingSequence": [mapping],
    }
    return f"{number}_{name}_map", phantom.map(name), attributes, None, slope


def _diffusion(phantom: BrainPhantom, random: np.random.Generator) -> Series:
    directions = np.concatenate([np.zeros((_UNWEIGHTED_VOLUMES, 3)), half_sphere(_DIRECTIONS)])
    b_values = np.where(directions.any(axis=1), _B_VALUE, 0.0)
    attributes = {
        "SeriesNumber": 5,
        "SeriesDescription": "dwi b1000 30 directions",
        "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
        "ScanningSequence": "EP",
        "RepetitionTime": 6500.0,
        "EchoTime": DIFFUSION_ECHO_TIME,
        "FlipAngle": 90.0,
    }
    per_volume: list[dict[str, Any]] = [
        {"DiffusionBValue": float(b), "DiffusionDirectionality": "DIRECTIONAL" if b else "NONE"}
        | ({"DiffusionGradientOrientation": direction.tolist()} if b else {})
        for b, direction in zip(b_values, directions, strict=True)
    ]
    return (
        "5_diffusion",
        diffusion_images(phantom, b_values, directions, random),
        attributes,
        per_volume,
        None,
    )
