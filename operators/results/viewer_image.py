"""The viewable copy: one integer MR Image series per quantity, for any viewer or archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom.pm import RealWorldValueMapping
from pydicom.uid import UID, MRImageStorage
from pydicom.valuerep import VR, DSfloat

from operators.results.mr_image import describe_pixels, mr_image
from operators.results.provenance import finish_object
from operators.results.references import slices_ascending
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.value_text import code_string, long_string, short_text
from operators.results.value_window import STORED_LEVELS, display_window, stored_step
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import QuantityMap
from operators.vocabulary.run import WrittenObject

# Image Type value 3 of MR Image (PS3.3 C.8.3.1.1.1); what is absent here is "OTHER".
_IMAGE_KINDS = {
    "t1": "T1 MAP",
    "t2": "T2 MAP",
    "proton_density": "DENSITY MAP",
    "mean_diffusivity": "DIFFUSION MAP",
    "fractional_anisotropy": "DIFFUSION MAP",
    "axial_diffusivity": "DIFFUSION MAP",
    "radial_diffusivity": "DIFFUSION MAP",
}


@dataclass(frozen=True)
class StoredValues:
    """A map as twelve-bit integers.

    Attributes:
        array: uint16 or int16 (slices, rows, columns); value = step x stored.
        step: value of one stored unit.
        clamped: number of voxels whose value did not fit and was set to the nearest limit.
    """

    array: np.ndarray
    step: float
    clamped: int

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest stored integer."""
        if self.array.dtype.kind == "i":
            return -STORED_LEVELS // 2, STORED_LEVELS // 2 - 1
        return 0, STORED_LEVELS - 1


def stored_values(quantity_map: QuantityMap) -> StoredValues:
    """Rounds a map to stored integers, signed where the quantity may be negative.

    Values beyond twelve bits are clamped, since consoles saturate there: the count is kept
    and stated with the series. The Parametric Map holds them unchanged.
    """
    step = stored_step(quantity_map)
    dtype = np.int16 if quantity_map.quantity.valid_range[0] < 0 else np.uint16
    low, high = StoredValues(np.empty(0, dtype), step, 0).limits
    scaled = np.rint(quantity_map.volume.array * np.float32(1 / step))
    clamped = int(np.count_nonzero((scaled < low) | (scaled > high)))
    return StoredValues(np.clip(scaled, low, high).astype(dtype), step, clamped)


def clamping_finding(quantity_map: QuantityMap, stored: StoredValues) -> Finding | None:
    """States that values were clamped in the viewable copy, or None where all fit."""
    if not stored.clamped:
        return None
    quantity = quantity_map.quantity
    low, high = (limit * stored.step for limit in stored.limits)
    return Finding(
        code="viewer-values-clamped",
        message=(
            f"{quantity.label}: {stored.clamped} of {stored.array.size} voxels lie outside "
            f"{low:g} to {high:g} {quantity.unit.value} and are clamped in the viewable copy; "
            "the float map holds their values."
        ),
        severity=Severity.INFORMATION,
    )


def write_viewer_images(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes the viewable copy of every map, one file per slice, below ``folder``.

    Returns:
        One entry per file, with paths relative to ``folder``; a clamping finding stands in
        the first entry of its series.
    """
    return [
        entry
        for quantity_map in plan.result.maps
        for entry in _write_series(plan, quantity_map, folder)
    ]


def _write_series(plan: ResultPlan, quantity_map: QuantityMap, folder: Path) -> list[WrittenObject]:
    quantity = quantity_map.quantity
    stored = stored_values(quantity_map)
    finding = clamping_finding(quantity_map, stored)
    image = _series_header(plan, quantity_map, stored, finding)
    geometry = quantity_map.volume.get_geometry()
    series_folder = plan.folder / "viewer" / quantity.name
    (folder / series_folder).mkdir(parents=True, exist_ok=True)
    written = []
    # Only these few elements differ between slices: the rest of the header is built once.
    for number, index in enumerate(slices_ascending(geometry), start=1):
        image.SOPInstanceUID = plan.instance_uid(ObjectKind.VIEWER_IMAGE, quantity.name, number)
        image.file_meta.MediaStorageSOPInstanceUID = UID(image.SOPInstanceUID)
        image.InstanceNumber = number
        position = geometry.get_plane_position(index)[0].ImagePositionPatient
        image.ImagePositionPatient = position
        plan.references.name_images_of_slice(image, geometry, index)
        image.add_new("PixelData", VR.OW, stored.array[index].tobytes())
        path = series_folder / f"{number:04d}.dcm"
        image.save_as(folder / path, enforce_file_format=True)
        written.append(
            WrittenObject(
                path=path,
                kind=ObjectKind.VIEWER_IMAGE,
                sop_class_uid=MRImageStorage,
                sop_instance_uid=image.SOPInstanceUID,
                series_instance_uid=image.SeriesInstanceUID,
                quantity=quantity.name,
                findings=(finding,) if finding and number == 1 else (),
            )
        )
    return written


def _series_header(
    plan: ResultPlan, quantity_map: QuantityMap, stored: StoredValues, finding: Finding | None
) -> hd.SOPClass:
    """Everything that all slices of one series share (PS3.3 A.4, MR Image IOD)."""
    result, quantity = plan.result, quantity_map.quantity
    template = template_image(result.source, quantity_map.volume.get_geometry())
    image = mr_image(
        plan,
        plan.series_of(ObjectKind.VIEWER_IMAGE, quantity.name),
        plan.instance_uid(ObjectKind.VIEWER_IMAGE, quantity.name),
        template,
    )
    kind = _IMAGE_KINDS.get(quantity.name, "OTHER")
    image.ImageType = ["DERIVED", "PRIMARY", kind, code_string(quantity.label)]
    image.DerivationDescription = short_text(
        f"{quantity.code.meaning}, viewable copy, rounded to {stored.step:g} "
        f"{quantity.unit.value}, {quantity_map.background:g} where not computed. "
        f"{finding.message + ' ' if finding else ''}"
        f"By {result.algorithm.name} {result.algorithm.version}"
    )
    plan.references.name_related_series(image)
    describe_pixels(image, signed=stored.array.dtype.kind == "i")
    low, high = display_window(quantity_map)
    image.WindowCenter = DSfloat((low + high) / 2, auto_format=True)
    image.WindowWidth = DSfloat(high - low, auto_format=True)
    image.VOILUTFunction = "LINEAR_EXACT"
    image.RescaleSlope = DSfloat(stored.step, auto_format=True)
    image.RescaleIntercept = DSfloat(0.0, auto_format=True)
    image.RescaleType = "US"
    image.RealWorldValueMappingSequence = [
        RealWorldValueMapping(
            lut_label=quantity.label,
            lut_explanation=long_string(quantity.code.meaning),
            unit=quantity.unit,
            value_range=stored.limits,
            slope=stored.step,
            intercept=0.0,
            quantity_definition=quantity.code,
        )
    ]
    finish_object(image, plan)
    return image
