"""A DICOM study of a phantom: coarse PD, T1 and T2 maps, sharp T1w, T2w and FLAIR images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from highdicom.pm import RealWorldValueMapping

from app.demo.mr_series import Amend, write_mr_series
from models.superres.degradation import KSpaceTruncation, low_resolution_shape
from models.superres.held_out import FLAIR, Phantom, procedural_phantom
from models.superres.signal import FastSpinEcho, Mprage
from models.superres.study import signals
from operators.vocabulary.quantity import QUANTITIES

UID = "1.2.826.0.1.3680043.10.1"
SPACING = (4.0, 2.0, 2.0)
"""Slices, rows, columns of the phantom, mm."""
T1_WEIGHTED = Mprage(2300, 1100, 9, 7.5, 160, 80)
T2_WEIGHTED = FastSpinEcho(4000, 100)
MPRAGE_SETTINGS = {"echo_spacing": 7.5, "readouts": 160, "centre_readout": 80}
COMMON: dict[str, Any] = {
    "PatientName": "PHANTOM",
    "PatientID": "PHANTOM",
    "StudyDate": "20260101",
    "StudyTime": "120000",
    "Manufacturer": "SIEMENS",
    "MagneticFieldStrength": 3.0,
    "BodyPartExamined": "BRAIN",
}
GUIDE_HEADERS: dict[str, dict[str, Any]] = {
    "t1w": {
        "SeriesNumber": 4, "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SP", "MP"],
        "MRAcquisitionType": "3D", "RepetitionTime": 2300.0, "InversionTime": 1100.0,
        "EchoTime": 3.0, "FlipAngle": 9.0, "EchoTrainLength": 1, "SeriesDescription": "mprage",
    },
    "t2w": {
        "SeriesNumber": 5, "ScanningSequence": "SE", "SequenceVariant": "SK",
        "MRAcquisitionType": "2D", "RepetitionTime": 4000.0, "EchoTime": 100.0,
        "FlipAngle": 150.0, "EchoTrainLength": 12, "SeriesDescription": "tse",
    },
    "flair": {
        "SeriesNumber": 6, "ScanningSequence": ["SE", "IR"], "MRAcquisitionType": "2D",
        "RepetitionTime": 9000.0, "InversionTime": 2500.0, "EchoTime": 100.0,
        "EchoTrainLength": 12, "SeriesDescription": "flair",
    },
}  # fmt: skip


def affine_of(spacing: tuple[float, float, float], origin: np.ndarray) -> np.ndarray:
    """Axial slices from feet to head, rows to posterior, columns to the left."""
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2], matrix[3, 3] = *spacing, 1.0
    matrix[:3, 3] = origin
    return matrix


@dataclass(frozen=True)
class PhantomStudy:
    """What is written, before it is.

    Attributes:
        phantom: the truth, (1, 3, slices, rows, columns).
        low: (3, *low_shape) measured maps.
        guides: "t1w", "t2w", "flair" -> (slices, rows, columns).
        affine: of the phantom.
        low_affine: of the maps.
    """

    phantom: Phantom
    low: np.ndarray
    guides: dict[str, np.ndarray]
    affine: np.ndarray
    low_affine: np.ndarray
    truncation: KSpaceTruncation = field(repr=False)


def simulated(
    shape: tuple[int, int, int] = (12, 96, 96),
    factors: tuple[float, float, float] = (1.0, 2.0, 2.0),
    noise: float = 0.01,
    seed: int = 5,
    phantom: Phantom | None = None,
) -> PhantomStudy:
    """Measured maps and guides of a procedural brain, with noise of 1 % of the mean."""
    random = np.random.default_rng(seed)
    phantom = phantom or procedural_phantom(shape, seed)
    truncation = KSpaceTruncation(shape, low_resolution_shape(shape, factors))
    inside = phantom.mask[0, 0].numpy() > 0
    low = truncation(phantom.maps)[0].numpy()
    for values, truth in zip(low, phantom.maps[0].numpy(), strict=True):
        values += noise * truth[inside].mean() * random.standard_normal(values.shape)
    weighted = signals((T1_WEIGHTED, T2_WEIGHTED, FLAIR), phantom.maps)[0].numpy()
    guides = {}
    for name, image in zip(GUIDE_HEADERS, weighted, strict=True):
        image = image + noise * image[inside].mean() * random.standard_normal(image.shape)
        guides[name] = np.abs(image * inside * 3000).astype(np.float32)
    centre = np.array([3.0, -12.0, 25.0])
    half = [n // 2 for n in shape]
    origin = centre - np.array([half[2] * SPACING[2], half[1] * SPACING[1], half[0] * SPACING[0]])
    wide = tuple(s * n / m for s, n, m in zip(SPACING, shape, low.shape[1:], strict=True))
    low_half = [n // 2 for n in low.shape[1:]]
    low_origin = centre - np.array(
        [low_half[2] * wide[2], low_half[1] * wide[1], low_half[0] * wide[0]]
    )
    return PhantomStudy(
        phantom,
        low,
        guides,
        affine_of(SPACING, origin),
        affine_of(wide, low_origin),
        truncation,
    )


def mapping_of(name: str, unit: str, slope: float) -> RealWorldValueMapping:
    """Real World Value Mapping of a map."""
    quantity = QUANTITIES[name]
    code = quantity.unit if unit == quantity.unit.value else (unit, "UCUM", unit)
    return RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=quantity.code.meaning,
        unit=code if not isinstance(code, tuple) else _code(*code),
        value_range=(-32768, 32767),
        slope=slope,
        intercept=0.0,
        quantity_definition=quantity.code,
    )


def _code(*parts: str) -> Any:
    from pydicom.sr.coding import Code

    return Code(*parts)


def write_maps(
    folder: Path,
    study: PhantomStudy,
    scale: Mapping[str, float] | None = None,
    units: Mapping[str, str] | None = None,
    first_number: int = 1,
) -> None:
    """PD in % and T2 in ms in the style of SyMRI, T1 in ms with a Real World Value Mapping.

    Args:
        folder: where to write.
        study: what is written.
        scale: factor on the values of a map, as a fault.
        units: unit that is stated for a map.
        first_number: Series Number of the PD map.
    """
    steps = {"proton_density": 1e-4, "t1": 0.2, "t2": 0.1}
    stated = {"proton_density": "%", "t1": "ms", "t2": "ms"} | dict(units or {})
    for number, (name, values) in enumerate(zip(steps, study.low, strict=True), first_number):
        factor = (100.0 if name == "proton_density" else 1.0) * (scale or {}).get(name, 1.0)
        step = steps[name] * factor
        attributes = COMMON | {
            "SeriesNumber": number,
            "SeriesDescription": f"{QUANTITIES[name].label} map",
            "ImageType": ["DERIVED", "PRIMARY", "QMAP", QUANTITIES[name].label],
            "RescaleType": stated[name],
        }
        if name == "t1":
            attributes["RealWorldValueMappingSequence"] = [mapping_of("t1", stated["t1"], step)]
        write_mr_series(
            folder / f"{number}_{name}",
            values * factor,
            study.low_affine,
            uid_prefix=UID,
            common=attributes,
            rescale_slope=step,
        )


def write_guide(
    folder: Path,
    study: PhantomStudy,
    name: str,
    common: Mapping[str, Any] | None = None,
    sagittal: bool = False,
    affine: np.ndarray | None = None,
    image: np.ndarray | None = None,
    amend: Amend | None = None,
) -> None:
    """One weighted image, axial or as sagittal slices."""
    image = study.guides[name] if image is None else image
    affine = study.affine if affine is None else affine
    if sagittal:
        image, affine = image.transpose(2, 0, 1)[:, ::-1], affine[:, [2, 0, 1, 3]].copy()
        affine[:3, 3] += affine[:3, 1] * (image.shape[1] - 1)
        affine[:3, 1] *= -1
    attributes = COMMON | GUIDE_HEADERS[name] | dict(common or {})
    write_mr_series(
        folder / f"{attributes['SeriesNumber']}_{name}",
        np.rint(image),
        affine,
        uid_prefix=UID,
        common=attributes,
        amend=amend,
    )


def write_phantom_study(folder: Path, study: PhantomStudy, sagittal_t1w: bool = True) -> Path:
    """The whole study."""
    write_maps(folder, study)
    write_guide(folder, study, "t1w", sagittal=sagittal_t1w)
    write_guide(folder, study, "t2w")
    write_guide(folder, study, "flair")
    return folder


def truth_on(study: PhantomStudy) -> torch.Tensor:
    """(3, slices, rows, columns) of the phantom."""
    return study.phantom.maps[0]
