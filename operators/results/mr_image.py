"""What classic MR Images of a result have in common (PS3.3 A.4)."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from operators.results.derived_object import derived_object
from operators.results.series_plan import PlannedSeries, ResultPlan

# Required of MR Image (PS3.3 C.8.3.1); a multi-frame source states these elsewhere.
_MR_TYPE_1 = {"ScanningSequence": "RM", "SequenceVariant": "NONE"}
_MR_TYPE_2 = ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength")


def mr_image(
    plan: ResultPlan, series: PlannedSeries, sop_instance_uid: str, template: Dataset
) -> hd.SOPClass:
    """An MR Image without pixels: what the slices of a series share.

    Args:
        plan: the result and its plan.
        series: series that it belongs to.
        sop_instance_uid: of its first slice.
        template: header of the source on the grid of the result.
    """
    image = derived_object(
        plan,
        series,
        template,
        sop_class_uid=MRImageStorage,
        sop_instance_uid=sop_instance_uid,
        modality="MR",
    )
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition",
                    "BodyPartExamined", "Laterality", "AcquisitionDate", "AcquisitionTime",
                    "MagneticFieldStrength", "ImageOrientationPatient", "PixelSpacing",
                    "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns",
                    *_MR_TYPE_1, *_MR_TYPE_2):  # fmt: skip
        if template.get(keyword):
            image.add(template[keyword])
    for keyword, value in _MR_TYPE_1.items():
        if not image.get(keyword):
            setattr(image, keyword, value)
    for keyword in ("PatientPosition", "PositionReferenceIndicator", *_MR_TYPE_2):
        if keyword not in image:
            setattr(image, keyword, None)
    return image


def describe_pixels(image: hd.SOPClass, signed: bool = False) -> None:
    """Image Pixel module (PS3.3 C.7.6.3); signed values keep their sign bit in bit 15."""
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = 16
    image.BitsStored = 16 if signed else 12
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(signed)
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
