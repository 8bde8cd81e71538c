"""What results inherit from the header of their source."""

from __future__ import annotations

import logging
from copy import copy

import highdicom as hd
import numpy as np
from highdicom.enum import SpecificCharacterSetValues
from pydicom import config
from pydicom.charset import python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import VR, DSfloat, validate_value

from operators.results.identifiers import derived_uid
from operators.vocabulary.acquisition import SourceSeries

# highdicom logs the UIDs of what it copies from, which house rules forbid.
logging.getLogger("highdicom").setLevel(logging.WARNING)

UTF_8 = "ISO_IR 192"
_SINGLE_CHARACTER_SETS = {
    value.value for value in SpecificCharacterSetValues if value.value.startswith("ISO_IR")
}

# Type 2 attributes of Patient, General Study and Frame of Reference (PS3.3 C.7.1.1, C.7.2.1,
# C.7.4.1): present but empty where the source lacks them.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
_FUNCTIONAL_GROUPS = 0x5200
_IMAGE_PRESENTATION = 0x0028
_PIXEL_DATA = 0x7FE0


def template_image(source: SourceSeries, geometry: hd.VolumeGeometry) -> Dataset:
    """A single-frame MR header with the source's patient and study on the grid of a result.

    highdicom copies Patient, Study, Frame of Reference and acquisition equipment from its
    "source image". Reading all headers of a long series for that would take longer than
    everything else, and mosaics and multi-frame images have another geometry than the maps:
    so it is shown this one header, and `SourceReferences` names the images.

    Text is decoded, to be written in `character_set`. Pixel description, functional groups
    and private attributes are left out; values that their type does not allow, as some
    de-identified files have them, are left empty. So is Patient's Name, which highdicom would
    print in a warning where it looks unusual: `finish_object` enters it.

    Args:
        source: the series that was analysed.
        geometry: grid of the result (slices, rows, columns), LPS affine in mm.
    """
    template = Dataset()
    for tag in source.header.keys():  # noqa: SIM118 - a data set iterates over elements
        if tag.is_private or tag.group in (_FUNCTIONAL_GROUPS, _IMAGE_PRESENTATION, _PIXEL_DATA):
            continue
        element = source.header[tag]
        if element.VR == VR.SQ and not element.value:
            continue  # an optional sequence without items is an error in the result
        # A copy: setting an attribute changes the element in place, here and in the source.
        template.add(copy(element) if _is_valid(element) else DataElement(tag, element.VR, None))
    for _ in template.iterall():
        pass  # reading an element decodes it by the source's character set, nested ones too
    template.PatientName = None
    template.SpecificCharacterSet = character_set(source.header)
    for keyword in _TYPE_2:
        if keyword not in template:
            setattr(template, keyword, None)
    if template.PatientSex not in ("M", "F", "O"):
        template.PatientSex = None
    # Old scanners state no frame of reference; slices of one series share one all the same.
    template.FrameOfReferenceUID = (
        geometry.frame_of_reference_uid
        or template.get("FrameOfReferenceUID")
        or derived_uid("frame of reference", source.series_instance_uid)
    )
    template.SOPClassUID = MRImageStorage
    template.SOPInstanceUID = source.images[0].sop_instance_uid
    _set_plane(template, geometry, source.header)
    return template


def character_set(header: Dataset, text: str = "") -> str:
    """Specific Character Set in which the header and ``text`` can be written.

    That of the source where it is a single one without escape sequences that holds the text,
    so that archives that compare names byte by byte find the same; else UTF-8.
    """
    declared = header.get("SpecificCharacterSet")
    if isinstance(declared, str) and declared in _SINGLE_CHARACTER_SETS:
        try:
            text.encode(python_encoding[declared])
        except UnicodeEncodeError:
            return UTF_8
        return str(declared)
    return UTF_8


def _is_valid(element: DataElement) -> bool:
    values = element.value if element.VM > 1 else [element.value]
    try:
        for value in values:
            # Decimal and Integer Strings are parsed numbers by now; their text is checked.
            text = str(value) if element.VR in (VR.DS, VR.IS) and value is not None else value
            validate_value(element.VR, text, config.RAISE)
    except (ValueError, TypeError):
        return False
    return True


def _set_plane(template: Dataset, geometry: hd.VolumeGeometry, header: Dataset) -> None:
    orientation = geometry.get_plane_orientation()[0].ImageOrientationPatient
    measures = geometry.get_pixel_measures()[0]
    template.ImageOrientationPatient = orientation
    template.ImagePositionPatient = geometry.get_plane_position(0)[0].ImagePositionPatient
    template.PixelSpacing = measures.PixelSpacing
    template.SpacingBetweenSlices = measures.SpacingBetweenSlices
    template.SliceThickness = _slice_thickness(header, geometry.spacing_between_slices)
    template.Rows, template.Columns = geometry.spatial_shape[1:]


def _slice_thickness(header: Dataset, spacing: float) -> DSfloat:
    """Thickness of the source slices, where the grid keeps their spacing; else the spacing."""
    thickness, source_spacing = header.get("SliceThickness"), header.get("SpacingBetweenSlices")
    if thickness and source_spacing and np.isclose(float(source_spacing), spacing, rtol=1e-3):
        return DSfloat(float(thickness), auto_format=True)
    return DSfloat(spacing, auto_format=True)
