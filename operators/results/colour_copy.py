"""The viewable copy of a colour map: one RGB picture per slice, for any viewer or archive.

MR Image holds no colours (PS3.3 C.8.3.1.1.1), and many viewers know no Enhanced MR Color Image.
Secondary Capture holds them everywhere. Its pictures carry position and orientation as well, which
PS3.4 B.3 allows as a standard extension, so that viewers can lay them beside the source.
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.uid import UID, SecondaryCaptureImageStorage
from pydicom.valuerep import VR

from operators.results.derived_object import derived_object
from operators.results.provenance import finish_object
from operators.results.references import slices_ascending
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.value_text import code_string, short_text
from operators.vocabulary.result import ColourMap
from operators.vocabulary.run import WrittenObject

# Share of a direction below which its letter is left out: one degree.
_SMALLEST_SHARE = 0.0175
_PLACE = (
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "PatientPosition",
    "BodyPartExamined",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
)


def write_colour_copies(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes the copy of every colour map, one file per slice, below ``folder``.

    Returns:
        One entry per file, with paths relative to ``folder``.

    Raises:
        ValueError: a colour map is not uint8 RGB.
    """
    return [
        entry
        for colour_map in plan.result.colour_maps
        for entry in _write_series(plan, colour_map, folder)
    ]


def _write_series(plan: ResultPlan, colour_map: ColourMap, folder: Path) -> list[WrittenObject]:
    array = colour_map.volume.array
    if array.dtype != np.uint8 or array.shape[3:] != (3,):
        raise ValueError(f"colour map {colour_map.name} must be uint8 RGB, got {array.dtype}")
    geometry = colour_map.volume.get_geometry()
    image = _series_header(plan, colour_map, geometry)
    series_folder = plan.folder / "viewer" / colour_map.name
    (folder / series_folder).mkdir(parents=True, exist_ok=True)
    written = []
    for number, index in enumerate(slices_ascending(geometry), start=1):
        image.SOPInstanceUID = plan.instance_uid(ObjectKind.COLOUR_COPY, colour_map.name, number)
        image.file_meta.MediaStorageSOPInstanceUID = UID(image.SOPInstanceUID)
        image.InstanceNumber = number
        image.ImagePositionPatient = geometry.get_plane_position(index)[0].ImagePositionPatient
        plan.references.name_images_of_slice(image, geometry, index)
        pixels = array[index].tobytes()
        image.add_new("PixelData", VR.OB, pixels + b"\0" * (len(pixels) % 2))
        path = series_folder / f"{number:04d}.dcm"
        image.save_as(folder / path, enforce_file_format=True)
        written.append(
            WrittenObject(
                path=path,
                kind=ObjectKind.COLOUR_COPY,
                sop_class_uid=SecondaryCaptureImageStorage,
                sop_instance_uid=image.SOPInstanceUID,
                series_instance_uid=image.SeriesInstanceUID,
                quantity=colour_map.name,
            )
        )
    return written


def _series_header(
    plan: ResultPlan, colour_map: ColourMap, geometry: hd.VolumeGeometry
) -> hd.SOPClass:
    """Everything that all slices of one series share (PS3.3 A.8.1)."""
    template = template_image(plan.result.source, geometry)
    image = derived_object(
        plan,
        plan.series_of(ObjectKind.COLOUR_COPY, colour_map.name),
        template,
        sop_class_uid=SecondaryCaptureImageStorage,
        sop_instance_uid=plan.instance_uid(ObjectKind.COLOUR_COPY, colour_map.name),
        modality="MR",
    )
    for keyword in _PLACE:
        if template.get(keyword):
            image.add(template[keyword])
    if "PositionReferenceIndicator" not in image:
        image.PositionReferenceIndicator = None
    algorithm = plan.result.algorithm
    image.ConversionType = "WSD"
    image.ImageType = ["DERIVED", "SECONDARY", "DIFFUSION", code_string(colour_map.label)]
    image.DerivationDescription = short_text(
        f"{colour_map.label}, red left-right, green front-back, blue head-feet, viewable copy. "
        f"By {algorithm.name} {algorithm.version}"
    )
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    image.PatientOrientation = [_letters(axis) for axis in geometry.unit_vectors()[:0:-1]]
    image.Rows, image.Columns = geometry.spatial_shape[1:]
    image.SamplesPerPixel = 3
    image.PhotometricInterpretation = "RGB"
    image.PlanarConfiguration = 0
    image.BitsAllocated = 8
    image.BitsStored = 8
    image.HighBit = 7
    image.PixelRepresentation = 0
    plan.references.name_related_series(image)
    finish_object(image, plan)
    return image


def _letters(direction: np.ndarray) -> str:
    """Letters of the sides to which a direction (LPS) points, nearest first (C.7.6.1.1.1)."""
    order = np.argsort(-np.abs(direction), kind="stable")
    pairs = ("RL", "AP", "FH")
    return "".join(
        pairs[axis][int(direction[axis] > 0)]
        for axis in order
        if abs(direction[axis]) > _SMALLEST_SHARE
    )
