"""Writes a float array as a classic MR series: one MR Image Storage file per slice and volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import DSfloat

Amend = Callable[[Dataset, int, int], None]
"""Called with (dataset, slice index, volume index) just before the file is written."""

_TYPE_1_AND_2: dict[str, Any] = {
    "PatientName": "",
    "PatientID": "",
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyDate": "",
    "StudyTime": "",
    "StudyID": "",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "Modality": "MR",
    "SeriesNumber": 1,
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "Manufacturer": "",
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "RepetitionTime": None,
    "EchoTime": None,
    "EchoTrainLength": None,
}
"""Attributes of Type 1 and 2 of the MR Image IOD (DICOM PS3.3 A.4) that do not follow from
the pixels; a caller overrides them by ``common`` and ``per_volume``."""


def write_mr_series(
    folder: Path,
    values: np.ndarray,
    affine: np.ndarray,
    *,
    uid_prefix: str,
    common: Mapping[str, Any],
    per_volume: Sequence[Mapping[str, Any]] | None = None,
    rescale_slope: float | None = None,
    rescale_intercept: float | None = None,
    amend: Amend | None = None,
) -> list[Path]:
    """Writes ``values`` as a classic MR series and returns the files, volume by volume.

    Stored values are ``round((value - intercept) / slope)`` in 16 bits, signed when one of
    them is negative. Without a slope, values that are whole numbers of 16 bits are stored as
    they are (slope 1, intercept 0), any others with the finest slope that holds the largest
    magnitude in 15 bits. Rescale Slope and Intercept are always written.

    Study, Frame of Reference, Series and SOP Instance UIDs are ``uid_prefix``, ``prefix.0``,
    ``prefix.<Series Number>`` and ``prefix.<Series Number>.<Instance Number>``, so that
    several series written with one prefix belong to one study; ``common`` may replace the
    first three.

    Args:
        folder: made when absent.
        values: (slices, rows, columns, volumes) or (slices, rows, columns), finite.
        affine: (4, 4), (slice, row, column) indices to LPS mm. Rows and columns must be
            orthogonal; the slice step may be oblique, as with a tilted gantry.
        uid_prefix: root of all UIDs, at most 44 characters.
        common: DICOM keyword -> value for every file.
        per_volume: for each volume, DICOM keyword -> value; overrides ``common``.
        rescale_slope: size of one stored unit.
        rescale_intercept: value of stored 0; 0 without it.
        amend: last word on each data set: private tags, or a fault for a test.

    Returns:
        Paths in Instance Number order: all slices of volume 0, then of volume 1, …

    Raises:
        ValueError: a shape is wrong, a value is not finite or does not fit in 16 bits, or
            rows and columns are not orthogonal.
    """
    if values.ndim == 3:
        values = values[..., np.newaxis]
    if values.ndim != 4:
        raise ValueError(f"values must be (slices, rows, columns, volumes), got {values.shape}")
    volumes = values.shape[3]
    per_volume = [{}] * volumes if per_volume is None else per_volume
    if len(per_volume) != volumes:
        raise ValueError(f"per_volume has {len(per_volume)} entries for {volumes} volumes")
    stored, slope, intercept = _stored_values(values, rescale_slope, rescale_intercept)
    series_number = int(common.get("SeriesNumber", _TYPE_1_AND_2["SeriesNumber"]))
    attributes = {
        **_TYPE_1_AND_2,
        "StudyInstanceUID": uid_prefix,
        "FrameOfReferenceUID": f"{uid_prefix}.0",
        "SeriesInstanceUID": f"{uid_prefix}.{series_number}",
        **_plane_attributes(affine),
        **_pixel_attributes(stored),
        "RescaleSlope": DSfloat(slope, auto_format=True),
        "RescaleIntercept": DSfloat(intercept, auto_format=True),
        "RescaleType": "US",
        **common,
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for volume in range(volumes):
        for index in range(values.shape[0]):
            instance = volume * values.shape[0] + index + 1
            dataset = Dataset()
            for keyword, value in {**attributes, **per_volume[volume]}.items():
                setattr(dataset, keyword, value)
            dataset.SOPClassUID = MRImageStorage
            dataset.SOPInstanceUID = f"{uid_prefix}.{series_number}.{instance}"
            dataset.InstanceNumber = instance
            dataset.ImagePositionPatient = _decimal_strings(affine[:3, 3] + index * affine[:3, 0])
            dataset.PixelData = stored[index, :, :, volume].tobytes()
            if amend is not None:
                amend(dataset, index, volume)
            dataset.file_meta = _file_meta(dataset)
            path = folder / f"{series_number:04d}_{instance:05d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def _stored_values(
    values: np.ndarray, slope: float | None, intercept: float | None
) -> tuple[np.ndarray, float, float]:
    """Stored integers (uint16 or int16), and the slope and intercept that give them back."""
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    intercept = 0.0 if intercept is None else float(intercept)
    shifted = values - intercept
    if slope is None:
        largest = float(np.abs(shifted).max(initial=0.0))
        whole = largest <= np.iinfo(np.int16).max and np.array_equal(shifted, np.rint(shifted))
        slope = 1.0 if whole or largest == 0 else largest / np.iinfo(np.int16).max
        # What a reader finds in the file is a decimal string of at most 16 characters.
        slope = float(str(DSfloat(slope, auto_format=True)))
    stored = np.rint(shifted / slope)
    dtype = np.dtype("<i2" if stored.min(initial=0) < 0 else "<u2")
    limits = np.iinfo(dtype)
    if stored.min(initial=0) < limits.min or stored.max(initial=0) > limits.max:
        raise ValueError(
            f"values {values.min():g} to {values.max():g} do not fit in 16 bits "
            f"with slope {slope:g}"
        )
    return stored.astype(dtype), slope, intercept


def _decimal_strings(numbers: np.ndarray) -> list[DSfloat]:
    return [DSfloat(float(number), auto_format=True) for number in numbers]


def _plane_attributes(affine: np.ndarray) -> dict[str, Any]:
    """Image Plane attributes (PS3.3 C.7.6.2) that all slices share, from the LPS affine."""
    slice_step, row_step, column_step = affine[:3, 0], affine[:3, 1], affine[:3, 2]
    spacing_rows, spacing_columns = np.linalg.norm(row_step), np.linalg.norm(column_step)
    row_cosine, column_cosine = column_step / spacing_columns, row_step / spacing_rows
    if abs(row_cosine @ column_cosine) > 1e-6:
        raise ValueError("rows and columns of the affine are not orthogonal")
    spacing_slices = abs(slice_step @ np.cross(row_cosine, column_cosine))
    return {
        "ImageOrientationPatient": _decimal_strings(np.concatenate([row_cosine, column_cosine])),
        "PixelSpacing": _decimal_strings(np.array([spacing_rows, spacing_columns])),
        "SliceThickness": DSfloat(float(spacing_slices), auto_format=True),
        "SpacingBetweenSlices": DSfloat(float(spacing_slices), auto_format=True),
    }


def _pixel_attributes(stored: np.ndarray) -> dict[str, Any]:
    """Image Pixel attributes (PS3.3 C.7.6.3) of 16-bit greyscale frames."""
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[1],
        "Columns": stored.shape[2],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
    }


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta
