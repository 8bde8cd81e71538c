"""The data elements that recognising and assembling a series need; all others are passed over.

Standard elements are named by keyword; private ones by creator, group and offset in their
block (DICOM PS3.5 7.8), with the value representation that their vendor documents.
"""

from __future__ import annotations

from typing import NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword


class PrivateElement(NamedTuple):
    """A private element: ``creator`` reserves a block of ``group``, ``offset`` lies in it."""

    creator: str
    group: int
    offset: int
    vr: str


SIEMENS_B_VALUE = PrivateElement("SIEMENS MR HEADER", 0x0019, 0x0C, "IS")
SIEMENS_DIRECTION = PrivateElement("SIEMENS MR HEADER", 0x0019, 0x0E, "FD")
SIEMENS_B_MATRIX = PrivateElement("SIEMENS MR HEADER", 0x0019, 0x27, "FD")
SIEMENS_CSA_IMAGE_HEADER = PrivateElement("SIEMENS CSA HEADER", 0x0029, 0x10, "OB")

PHILIPS_B_VALUE = PrivateElement("Philips Imaging DD 001", 0x2001, 0x03, "FL")
PHILIPS_DIRECTION_KIND = PrivateElement("Philips Imaging DD 001", 0x2001, 0x04, "CS")
PHILIPS_SCALE_SLOPE = PrivateElement("Philips MR Imaging DD 001", 0x2005, 0x0E, "FL")
PHILIPS_DIRECTION_RL = PrivateElement("Philips MR Imaging DD 001", 0x2005, 0xB0, "FL")
PHILIPS_DIRECTION_AP = PrivateElement("Philips MR Imaging DD 001", 0x2005, 0xB1, "FL")
PHILIPS_B_VALUE_NUMBER = PrivateElement("Philips MR Imaging DD 005", 0x2005, 0x12, "IS")
PHILIPS_DIRECTION_NUMBER = PrivateElement("Philips MR Imaging DD 005", 0x2005, 0x13, "IS")
PHILIPS_DIRECTION_FH = PrivateElement("Philips MR Imaging DD 001", 0x2005, 0xB2, "FL")

GE_DIRECTION_X = PrivateElement("GEMS_ACQU_01", 0x0019, 0xBB, "DS")
GE_DIRECTION_Y = PrivateElement("GEMS_ACQU_01", 0x0019, 0xBC, "DS")
GE_DIRECTION_Z = PrivateElement("GEMS_ACQU_01", 0x0019, 0xBD, "DS")
GE_B_VALUE = PrivateElement("GEMS_PARM_01", 0x0043, 0x39, "IS")
GE_IMAGE_COMPONENT = PrivateElement("GEMS_PARM_01", 0x0043, 0x2F, "SS")

UIH_B_VALUE = PrivateElement("Image Private Header", 0x0065, 0x09, "FD")
UIH_DIRECTION = PrivateElement("Image Private Header", 0x0065, 0x37, "FD")
UIH_MOSAIC_IMAGES = PrivateElement("Image Private Header", 0x0065, 0x50, "DS")
UIH_MOSAIC_SEQUENCE = PrivateElement("Image Private Header", 0x0065, 0x51, "SQ")

_PRIVATE = [value for value in list(globals().values()) if isinstance(value, PrivateElement)]

_KEYWORDS = (
    # Identification
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "Modality", "Manufacturer", "SeriesNumber", "SeriesDescription",
    "InstanceNumber", "AcquisitionNumber", "FrameAcquisitionNumber",
    "TemporalPositionIdentifier", "TemporalPositionIndex",
    "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "FrameAcquisitionDateTime",
    # What kind of image
    "ImageType", "FrameType", "ComplexImageComponent", "AcquisitionContrast", "ImageComments",
    # How it was acquired
    "ScanningSequence", "SequenceName", "MRAcquisitionType", "RepetitionTime", "EchoTime",
    "EffectiveEchoTime", "InversionTime", "InversionTimes", "FlipAngle", "ImagingFrequency",
    "TransmitterFrequency", "MagneticFieldStrength",
    "SequenceVariant", "ScanOptions", "EchoTrainLength", "RFEchoTrainLength",
    "EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery",
    "SpectrallySelectedSuppression", "ContrastBolusAgent", "ContrastBolusAgentSequence",
    "InPlanePhaseEncodingDirection", "DiffusionBValue", "DiffusionDirectionality",
    "DiffusionGradientOrientation",
    "DiffusionBValueXX", "DiffusionBValueXY", "DiffusionBValueXZ",
    "DiffusionBValueYY", "DiffusionBValueYZ", "DiffusionBValueZZ",
    # Where it lies
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices",
    # How it is stored
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    # What its values mean
    "RescaleIntercept", "RescaleSlope", "RescaleType", "RealWorldValueMappingSequence",
    "RealWorldValueIntercept", "RealWorldValueSlope", "MeasurementUnitsCodeSequence",
    "QuantityDefinitionSequence", "ConceptCodeSequence",
    "CodeValue", "CodingSchemeDesignator",
    # Frames of an Enhanced image
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip

_MACROS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence",
    "FrameContentSequence", "PixelValueTransformationSequence", "MRImageFrameTypeSequence",
    "ParametricMapFrameTypeSequence", "MREchoSequence", "MRModifierSequence",
    "MRTimingAndRelatedParametersSequence", "MRFOVGeometrySequence", "MRDiffusionSequence",
    "MRImagingModifierSequence",
    "DiffusionGradientDirectionSequence", "DiffusionBMatrixSequence",
)  # fmt: skip
"""Functional group macros (PS3.3 C.7.6.16.2, C.8.13.5): one item each, whose elements say of a
frame what the same elements say of a classic image."""

_BLOCKS = range(0x10, 0x20)


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


STANDARD: dict[str, tuple[int, str]] = {
    keyword: (_tag(keyword), dictionary_VR(_tag(keyword))) for keyword in (*_KEYWORDS, *_MACROS)
}
"""Keyword -> (tag, VR) of every standard element that is kept."""

MACRO_TAGS = frozenset(_tag(keyword) for keyword in _MACROS)

KEPT_TAGS = frozenset(tag for tag, _ in STANDARD.values()) | frozenset(
    tag
    for element in _PRIVATE
    for block in _BLOCKS
    for tag in (element.group << 16 | block, element.group << 16 | block << 8 | element.offset)
)
"""Tags that are kept: standard ones, and private ones in any of the usual blocks with the
elements that name the creators of these blocks."""

SEQUENCE_TAGS = frozenset(tag for tag, vr in STANDARD.values() if vr == "SQ") | frozenset(
    element.group << 16 | block << 8 | element.offset
    for element in _PRIVATE
    if element.vr == "SQ"
    for block in _BLOCKS
)


def creator_tags(group: int) -> list[int]:
    """Tags that name the creators of the blocks of ``group``."""
    return [group << 16 | block for block in _BLOCKS]
