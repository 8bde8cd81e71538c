"""The Enhanced MR Color Image of each direction-encoded map."""

from __future__ import annotations

import struct
from pathlib import Path

import highdicom as hd
import numpy as np
from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRColorImageStorage

from operators.results.anatomy import frame_anatomy
from operators.results.derived_object import derived_object
from operators.results.provenance import finish_object
from operators.results.references import slices_ascending
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.value_text import code_string
from operators.vocabulary.result import ColourMap
from operators.vocabulary.run import WrittenObject

# Required in the object, absent from classic MR: scanners are made to IEC 60601-2-33.
_SAFETY_STANDARD = "IEC"


def write_colour_maps(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes one Enhanced MR Color Image per colour map below ``folder``.

    Returns:
        One entry per file, with paths relative to ``folder``.
    """
    written = []
    for colour_map in plan.result.colour_maps:
        image = colour_image(plan, colour_map)
        path = plan.folder / "colour" / f"{colour_map.name}.dcm"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        image.save_as(folder / path, enforce_file_format=True)
        written.append(
            WrittenObject(
                path=path,
                kind=ObjectKind.COLOUR_MAP,
                sop_class_uid=image.SOPClassUID,
                sop_instance_uid=image.SOPInstanceUID,
                series_instance_uid=image.SeriesInstanceUID,
                quantity=colour_map.name,
            )
        )
    return written


def colour_image(plan: ResultPlan, colour_map: ColourMap) -> hd.SOPClass:
    """The Enhanced MR Color Image (PS3.3 A.36.4) of one colour map.

    Args:
        plan: UIDs, series and source.
        colour_map: uint8 (slices, rows, columns, 3), red, green, blue.

    Raises:
        ValueError: the array has another shape or type.
    """
    array = colour_map.volume.array
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        raise ValueError(f"colour map {colour_map.name} must be uint8 (slices, rows, columns, 3)")
    geometry = colour_map.volume.get_geometry()
    template = template_image(plan.result.source, geometry)
    image = derived_object(
        plan,
        plan.series_of(ObjectKind.COLOUR_MAP, colour_map.name),
        template,
        sop_class_uid=EnhancedMRColorImageStorage,
        sop_instance_uid=plan.instance_uid(ObjectKind.COLOUR_MAP, colour_map.name),
        modality="MR",
    )
    image.FrameOfReferenceUID = template.FrameOfReferenceUID
    image.PositionReferenceIndicator = template.PositionReferenceIndicator
    image.PatientPosition = template.get("PatientPosition")
    image.AcquisitionContextSequence = []
    _describe_image(image, plan, colour_map)
    order = slices_ascending(geometry)
    _describe_pixels(image, array[order])
    image.SharedFunctionalGroupsSequence = [_shared_groups(image, plan, geometry)]
    image.PerFrameFunctionalGroupsSequence = [
        _frame_groups(number, geometry.get_plane_position(index))
        for number, index in enumerate(order, start=1)
    ]
    _index_by_position(image)
    finish_object(image, plan)
    plan.references.name_evidence(image, "SourceImageEvidenceSequence")
    plan.references.name_images_of_frames(image, geometry)
    return image


def _describe_image(image: hd.SOPClass, plan: ResultPlan, colour_map: ColourMap) -> None:
    """Enhanced MR Image module and MR Image Description macro (C.8.13.1, C.8.13.3.1)."""
    image.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", code_string(colour_map.label)]
    image.PixelPresentation = "TRUE_COLOR"
    image.VolumetricProperties = "VOLUME"
    image.VolumeBasedCalculationTechnique = "NONE"
    image.ComplexImageComponent = "MAGNITUDE"
    image.AcquisitionContrast = "DIFFUSION"
    image.ContentQualification = "RESEARCH"
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    image.PresentationLUTShape = "IDENTITY"
    image.ApplicableSafetyStandardAgency = (
        plan.result.source.header.get("ApplicableSafetyStandardAgency") or _SAFETY_STANDARD
    )
    image.ColorSpace = "SRGB"
    image.ICCProfile = _srgb_profile()


def _srgb_profile() -> bytes:
    """The matrix profile of sRGB, which leaves the colours as they are.

    Little CMS makes it as a display profile dated now; C.11.15 asks for an input or colour
    space profile, and the same object must have the same bytes: the class (bytes 12 to 15)
    and the date (bytes 24 to 35 of the header, ICC.1:2022 7.2) are set accordingly.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[12:16] = b"spac"
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def _describe_pixels(image: hd.SOPClass, frames: np.ndarray) -> None:
    """Image Pixel module (PS3.3 C.7.6.3) of interleaved 8-bit RGB."""
    image.SamplesPerPixel = 3
    image.PhotometricInterpretation = "RGB"
    image.PlanarConfiguration = 0
    image.BitsAllocated = 8
    image.BitsStored = 8
    image.HighBit = 7
    image.PixelRepresentation = 0
    image.NumberOfFrames, image.Rows, image.Columns = frames.shape[:3]
    data = frames.tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)


def _shared_groups(image: hd.SOPClass, plan: ResultPlan, geometry: hd.VolumeGeometry) -> Dataset:
    shared = Dataset()
    shared.PixelMeasuresSequence = geometry.get_pixel_measures()
    shared.PlaneOrientationSequence = geometry.get_plane_orientation()
    shared.FrameAnatomySequence = [frame_anatomy(plan.result.source.header)]
    frame_type = Dataset()
    frame_type.FrameType = image.ImageType
    for keyword in ("PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique",
                    "ComplexImageComponent", "AcquisitionContrast"):  # fmt: skip
        frame_type.add(image[keyword])
    shared.MRImageFrameTypeSequence = [frame_type]
    return shared


def _frame_groups(number: int, position: hd.PlanePositionSequence) -> Dataset:
    content = Dataset()
    content.StackID = "1"
    content.InStackPositionNumber = number
    content.DimensionIndexValues = [1, number]
    frame = Dataset()
    frame.FrameContentSequence = [content]
    frame.PlanePositionSequence = position
    frame.DerivationImageSequence = []
    return frame


def _index_by_position(image: hd.SOPClass) -> None:
    """Multi-frame Dimension module (PS3.3 C.7.6.17): stack, then position in the stack."""
    organization = Dataset()
    organization.DimensionOrganizationUID = ""
    image.DimensionOrganizationSequence = [organization]
    indices = []
    for pointer in (0x00209056, 0x00209057):  # Stack ID, In-Stack Position Number
        index = Dataset()
        index.DimensionOrganizationUID = ""
        index.DimensionIndexPointer = pointer
        index.FunctionalGroupPointer = 0x00209111  # Frame Content Sequence
        indices.append(index)
    image.DimensionIndexSequence = indices
