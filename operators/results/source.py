"""What results inherit from their source, and how they refer to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from copy import copy

import highdicom as hd
import numpy as np
from highdicom.enum import SpecificCharacterSetValues
from highdicom.sr.coding import CodedConcept
from pydicom import config
from pydicom.charset import python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.uid import MRImageStorage
from pydicom.valuerep import VR, DSfloat, validate_value

from operators.vocabulary.acquisition import SourceImage, SourceSeries
from operators.vocabulary.result import PipelineResult

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
_DERIVATION = CodedConcept.from_code(codes.DCM.UnspecifiedMethodOfCalculation)
_SOURCE_FOR_PROCESSING = CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
_FUNCTIONAL_GROUPS = 0x5200
_IMAGE_PRESENTATION = 0x0028
_PIXEL_DATA = 0x7FE0


def template_image(source: SourceSeries, geometry: hd.VolumeGeometry) -> Dataset:
    """A single-frame MR header with the source's patient and study on the grid of a result.

    highdicom copies Patient, Study, Frame of Reference and acquisition equipment from its
    "source image". Reading all headers of a long series for that would take longer than
    everything else, and mosaics and multi-frame images have another geometry than the maps:
    so it is shown this one header, and the references are set by `refer_to_sources`.

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


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """SOP Instance Reference Macro (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def refer_to_sources(dataset: Dataset, result: PipelineResult) -> None:
    """Names every source image: Source Image Sequence and Common Instance Reference module.

    Args:
        dataset: multi-frame object; changed in place.
        result: what it was made from.
    """
    images, series_items = [], []
    for series in all_sources(result):
        references = [reference(i.sop_class_uid, i.sop_instance_uid) for i in series.images]
        item = Dataset()
        item.SeriesInstanceUID = series.series_instance_uid
        item.ReferencedInstanceSequence = references
        images.extend(references)
        series_items.append(item)
    dataset.SourceImageSequence = images
    dataset.ReferencedSeriesSequence = series_items


def refer_frames_to_sources(
    dataset: Dataset, source: SourceSeries, geometry: hd.VolumeGeometry
) -> None:
    """Names the source images behind each frame: Derivation Image functional group.

    Where it is not known which image holds which slice, all frames share all images.

    Args:
        dataset: multi-frame object with one frame per slice, ascending along row x column;
            changed in place.
        source: the series that was analysed.
        geometry: grid of the result (slices, rows, columns).
    """
    frames = dataset.PerFrameFunctionalGroupsSequence
    by_slice = images_by_slice(source, geometry.spatial_shape[0])
    if by_slice:
        for frame, index in zip(frames, slices_ascending(geometry), strict=True):
            frame.DerivationImageSequence = [_derivation(by_slice[index], "YES")]
        return
    for frame in frames:
        if "DerivationImageSequence" in frame:
            del frame.DerivationImageSequence
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.DerivationImageSequence = [_derivation(source.images, "NO")]


def _derivation(images: Iterable[SourceImage], locations_preserved: str) -> Dataset:
    derivation = Dataset()
    derivation.DerivationCodeSequence = [_DERIVATION]
    items = []
    for image in images:
        item = reference(image.sop_class_uid, image.sop_instance_uid)
        item.SpatialLocationsPreserved = locations_preserved
        item.PurposeOfReferenceCodeSequence = [_SOURCE_FOR_PROCESSING]
        items.append(item)
    derivation.SourceImageSequence = items
    return derivation


def slices_ascending(geometry: hd.VolumeGeometry) -> list[int]:
    """Indices of the slices in the order of ascending position along row x column."""
    row_cosine, column_cosine = geometry.affine[:3, 2], geometry.affine[:3, 1]
    ascending = geometry.affine[:3, 0] @ np.cross(row_cosine, column_cosine) > 0
    slices = list(range(geometry.spatial_shape[0]))
    return slices if ascending else slices[::-1]


def source_evidence(result: PipelineResult) -> Dataset:
    """Every source image as Hierarchical SOP Instance Reference Macro (C.17.2.1)."""
    study = Dataset()
    study.StudyInstanceUID = result.source.header.StudyInstanceUID
    study.ReferencedSeriesSequence = []
    for series in all_sources(result):
        item = Dataset()
        item.SeriesInstanceUID = series.series_instance_uid
        item.ReferencedSOPSequence = [
            reference(i.sop_class_uid, i.sop_instance_uid) for i in series.images
        ]
        study.ReferencedSeriesSequence.append(item)
    return study


def images_by_slice(source: SourceSeries, slices: int) -> dict[int, list[SourceImage]]:
    """Single-slice source images of each slice of a grid of ``slices`` slices.

    Empty where the series does not say which image holds which slice, where an image holds
    several (mosaic, multi-frame), or where the grid of the result has another number of
    slices than the source.
    """
    single = [image for image in source.images if image.frames == 1 and len(image.slices) == 1]
    if len(single) < len(source.images) or max(i.slices[0] for i in single) + 1 != slices:
        return {}
    by_slice: dict[int, list[SourceImage]] = {index: [] for index in range(slices)}
    for image in single:
        by_slice[image.slices[0]].append(image)
    return by_slice


def related_series(sources: Iterable[SourceSeries]) -> DicomSequence:
    """Related Series Sequence (0008,1250) that names whole series."""
    items = []
    for series in sources:
        item = Dataset()
        item.StudyInstanceUID = series.header.StudyInstanceUID
        item.SeriesInstanceUID = series.series_instance_uid
        item.PurposeOfReferenceCodeSequence = []
        items.append(item)
    return DicomSequence(items)


def all_sources(result: PipelineResult) -> list[SourceSeries]:
    """Source and further sources, each series once."""
    sources = {
        series.series_instance_uid: series for series in (result.source, *result.further_sources)
    }
    return list(sources.values())


def code_string(label: str) -> str:
    """A label as Code String (PS3.5 6.2): capitals, digits and underscores, at most 16."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in label.upper())[:16]
