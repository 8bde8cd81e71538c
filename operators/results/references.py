"""How results name the images that they were made from."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import VR

from operators.vocabulary.acquisition import SourceImage, SourceSeries
from operators.vocabulary.result import PipelineResult

_DERIVATION = CodedConcept.from_code(codes.DCM.UnspecifiedMethodOfCalculation)
_SOURCE_FOR_PROCESSING = CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
_ELEMENT_HEADER = 12  # bytes of tag, VR, reserved and length of an explicit VR sequence


class SourceReferences:
    """References of one result to all its source images, encoded once.

    A diffusion series has thousands of images and every object names them: each list is
    encoded the first time, and entered into further objects as it is.

    Args:
        result: what was made from the images.
    """

    def __init__(self, result: PipelineResult) -> None:
        self._source = result.source
        # Source and further sources, each series once.
        self._series = {
            series.series_instance_uid: series
            for series in (result.source, *result.further_sources)
        }
        self._regions = {
            series.series_instance_uid: series
            for series in result.region_sources
            if series.series_instance_uid not in self._series
        }
        self._study_uid = result.source.header.StudyInstanceUID
        self._by_slice: dict[int, dict[int, list[SourceImage]]] = {}
        self._derivations: dict[int, bytes] = {}
        self._slices: dict[int, bytes] = {}

    def name_images(self, dataset: Dataset, keyword: str = "SourceImageSequence") -> None:
        """Enters every image as SOP Instance Reference (PS3.3 10.8), one after the other."""
        _enter(dataset, keyword, self._images)

    def name_series(self, dataset: Dataset) -> None:
        """Enters every image below its series: Common Instance Reference (PS3.3 C.12.2)."""
        _enter(dataset, "ReferencedSeriesSequence", self._instances_by_series)

    def name_evidence(self, dataset: Dataset, keyword: str) -> None:
        """Enters every image below series and study (PS3.3 C.17.2.1)."""
        _enter(dataset, keyword, self._evidence)

    def name_evidence_and_regions(self, dataset: Dataset, keyword: str) -> None:
        """Enters the images, and the Segmentations of the study that regions came from."""
        _enter(dataset, keyword, self._evidence_and_regions)

    def name_related_series(self, dataset: Dataset) -> None:
        """Enters Related Series Sequence (0008,1250), which names whole series."""
        items = []
        for uid in self._series:
            item = Dataset()
            item.StudyInstanceUID = self._study_uid
            item.SeriesInstanceUID = uid
            item.PurposeOfReferenceCodeSequence = []
            items.append(item)
        dataset.RelatedSeriesSequence = items

    def name_images_of_slice(
        self, dataset: Dataset, geometry: hd.VolumeGeometry, index: int
    ) -> None:
        """Enters the images of one slice of the result's grid, where they are known."""
        by_slice = self._images_by_slice(geometry)
        if by_slice and index not in self._slices:
            self._slices[index] = _encoded(map(_reference, by_slice[index]))
        if by_slice:
            _enter(dataset, "SourceImageSequence", self._slices[index])

    def name_images_of_frames(self, dataset: Dataset, geometry: hd.VolumeGeometry) -> None:
        """Enters the images of each frame: Derivation Image functional group (C.7.6.16.2.6).

        Where it is not known which image holds which slice, all frames share all images.

        Args:
            dataset: multi-frame object with Plane Position per frame; changed in place.
            geometry: grid of the result (slices, rows, columns).
        """
        by_slice = self._images_by_slice(geometry)
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            if by_slice:
                images = by_slice[_slice_of(frame, geometry)]
                _enter(frame, "DerivationImageSequence", self._derivation(images, geometry))
            elif "DerivationImageSequence" in frame:
                del frame.DerivationImageSequence
        if not by_slice:
            shared = dataset.SharedFunctionalGroupsSequence[0]
            derivation = _derivation(self._source.images, locations_preserved="NO")
            shared.DerivationImageSequence = [derivation]

    def _images_by_slice(self, geometry: hd.VolumeGeometry) -> dict[int, list[SourceImage]]:
        slices = geometry.spatial_shape[0]
        if slices not in self._by_slice:
            self._by_slice[slices] = images_by_slice(self._source, slices)
        return self._by_slice[slices]

    def _derivation(self, images: list[SourceImage], geometry: hd.VolumeGeometry) -> bytes:
        index = images[0].slices[0]
        if index not in self._derivations:
            header = self._source.header
            plane = (header.get("Rows"), header.get("Columns"))
            # A result may be finer than its source.
            preserved = "YES" if plane in ((None, None), geometry.spatial_shape[1:]) else "NO"
            self._derivations[index] = _encoded([_derivation(images, preserved)])
        return self._derivations[index]

    @cached_property
    def _images(self) -> bytes:
        return _encoded(
            _reference(image) for series in self._series.values() for image in series.images
        )

    @cached_property
    def _instances_by_series(self) -> bytes:
        return _encoded(_series_items(self._series.values(), "ReferencedInstanceSequence"))

    @cached_property
    def _evidence(self) -> bytes:
        return _encoded([_study_item(self._study_uid, self._series.values())])

    @cached_property
    def _evidence_and_regions(self) -> bytes:
        # A workstation may file its drawings under a study of their own.
        studies: dict[str, list[SourceSeries]] = {self._study_uid: list(self._series.values())}
        for series in self._regions.values():
            studies.setdefault(str(series.header.StudyInstanceUID), []).append(series)
        return _encoded(_study_item(uid, listed) for uid, listed in studies.items())


def images_by_slice(source: SourceSeries, slices: int) -> dict[int, list[SourceImage]]:
    """Single-slice source images of each slice of a grid of ``slices`` slices.

    Empty where the series does not say which image holds which slice, where an image holds
    several (mosaic, multi-frame), or where the grid of the result has another number of
    slices than the source.
    """
    single = [image for image in source.images if image.frames == 1 and len(image.slices) == 1]
    if len(single) < len(source.images):
        return {}
    by_slice: dict[int, list[SourceImage]] = {}
    for image in single:
        by_slice.setdefault(image.slices[0], []).append(image)
    return by_slice if sorted(by_slice) == list(range(slices)) else {}


def slices_ascending(geometry: hd.VolumeGeometry) -> list[int]:
    """Indices of the slices in the order of ascending position along row x column."""
    ascending = geometry.affine[:3, 0] @ _normal(geometry) > 0
    slices = list(range(geometry.spatial_shape[0]))
    return slices if ascending else slices[::-1]


def _normal(geometry: hd.VolumeGeometry) -> np.ndarray:
    return np.cross(geometry.affine[:3, 2], geometry.affine[:3, 1])


def _slice_of(frame: Dataset, geometry: hd.VolumeGeometry) -> int:
    position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
    normal = _normal(geometry)
    offset = (position - geometry.affine[:3, 3]) @ normal
    return int(np.rint(offset / (geometry.affine[:3, 0] @ normal)))


def _study_item(uid: str, series: Iterable[SourceSeries]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = uid
    study.ReferencedSeriesSequence = _series_items(series, "ReferencedSOPSequence")
    return study


def _series_items(listed: Iterable[SourceSeries], keyword: str) -> list[Dataset]:
    items = []
    for series in listed:
        item = Dataset()
        item.SeriesInstanceUID = series.series_instance_uid
        setattr(item, keyword, [_reference(image) for image in series.images])
        items.append(item)
    return items


def _reference(image: SourceImage) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.sop_class_uid
    item.ReferencedSOPInstanceUID = image.sop_instance_uid
    return item


def _derivation(images: Iterable[SourceImage], locations_preserved: str) -> Dataset:
    items = []
    for image in images:
        item = _reference(image)
        item.SpatialLocationsPreserved = locations_preserved
        item.PurposeOfReferenceCodeSequence = [_SOURCE_FOR_PROCESSING]
        items.append(item)
    derivation = Dataset()
    derivation.DerivationCodeSequence = [_DERIVATION]
    derivation.SourceImageSequence = items
    return derivation


def _encoded(items: Iterable[Dataset]) -> bytes:
    """The items of a sequence in Explicit VR Little Endian, as all results are written."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, DataElement(Tag("SourceImageSequence"), VR.SQ, list(items)))
    return buffer.getvalue()[_ELEMENT_HEADER:]


def _enter(dataset: Dataset, keyword: str, items: bytes) -> None:
    """Enters an encoded sequence as pydicom keeps what it has read and not yet decoded.

    It stays encoded until the file is written where `finish_object` came before.
    """
    tag: BaseTag = Tag(keyword)
    dataset[tag] = RawDataElement(tag, VR.SQ, len(items), items, 0, False, True)
