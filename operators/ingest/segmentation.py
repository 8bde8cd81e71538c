"""Segmentations that came with the study: checked by their headers, read segment by segment.

Geometry and pixels are highdicom's reading of the object (PS3.3 A.51, C.8.20).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.coding import Code

from operators.ingest.pixels import open_stored
from operators.ingest.recognise import Recognition, named_as
from operators.ingest.scan import UnreadableFileError
from operators.ingest.settings import IngestSettings
from operators.ingest.study import StoredImage, StoredSeries
from operators.vocabulary.acquisition import SeriesKind, SourceImage, SourceSeries
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.study_segmentation import (
    DescribedSegment,
    SegmentMaker,
    StudySegmentation,
)
from operators.vocabulary.version import MANUFACTURER

_BACKGROUND = Code("125040", "DCM", "Background")
#: Voxels of the largest grid of one segment that is read: 256 MiB as bytes.
LARGEST_GRID = 2**28
#: Part of a voxel from which on a fractional segment holds it.
HALF = 0.5
_SEND_ANEW = "Export the segmentation anew, as binary DICOM Segmentation on a regular grid."


def recognise_segmentation(series: StoredSeries, settings: IngestSettings) -> Recognition:
    """What a series of Segmentations is: regions to measure, or one to leave alone.

    Left alone are series that the configuration says to leave, and what this software wrote
    itself: results of an earlier run are no drawing of anybody's.

    Raises:
        Refusal: the configuration names it as a series of images.
    """
    named = named_as(series, settings)
    if named is not None and named.kind is not SeriesKind.UNRECOGNISED:
        raise Refusal(
            "segmentation-named-as-images",
            f"a Segmentation is named as {named.kind.value} in the configuration",
            "Take the entry out of ingest.series, or give it the kind unrecognised.",
        )
    if named is not None:
        return Recognition(SeriesKind.UNRECOGNISED, "named in the configuration")
    if series.first.text("Manufacturer") == MANUFACTURER:
        return Recognition(SeriesKind.UNRECOGNISED, f"a Segmentation that {MANUFACTURER} wrote")
    count = len(series.images)
    return Recognition(
        SeriesKind.SEGMENTATION, f"SOP class Segmentation, {count} object{'s' * (count > 1)}"
    )


def study_segmentation(image: StoredImage) -> StudySegmentation:
    """The checked Segmentation in a file; its pixels are read when they are asked for.

    Raises:
        Refusal: it has no regular grid, one that is too large, or no segment.
        UnreadableFileError: highdicom cannot read it.
    """
    opened = _opened(image.path)
    geometry = opened.get_volume_geometry()
    if geometry is None:
        raise Refusal(
            "segmentation-without-grid",
            "the frames of a Segmentation are no parallel, evenly spaced slices",
            _SEND_ANEW,
        )
    voxels = int(np.prod(geometry.spatial_shape))
    if voxels > LARGEST_GRID:
        raise Refusal(
            "segmentation-too-large",
            f"the grid of a Segmentation has {voxels} voxels, more than {LARGEST_GRID}",
            _SEND_ANEW,
        )
    segments = tuple(
        segment
        for segment in map(_described, opened.SegmentSequence)
        if (segment.type.value, segment.type.scheme_designator)
        != (_BACKGROUND.value, _BACKGROUND.scheme_designator)
    )
    if not segments:
        raise Refusal("segmentation-without-segment", "a Segmentation has no segment", _SEND_ANEW)
    fractional = opened.segmentation_type is SegmentationTypeValues.FRACTIONAL
    # The grid's own UID is empty: Frame of Reference is a module of the object.
    grid = hd.VolumeGeometry(
        affine=geometry.affine,
        spatial_shape=geometry.spatial_shape,
        coordinate_system="PATIENT",
        frame_of_reference_uid=opened.get("FrameOfReferenceUID"),
    )
    return StudySegmentation(
        segments=segments,
        geometry=grid,
        source=SourceSeries(
            header=_header(image.path),
            images=(
                SourceImage(
                    path=image.path,
                    sop_class_uid=image.sop_class_uid,
                    sop_instance_uid=image.sop_instance_uid,
                    frames=image.pixels.frames,
                ),
            ),
        ),
        read=SegmentReader(image.path, tuple(segment.number for segment in segments)),
        findings=_fractional() if fractional else (),
    )


@dataclass(frozen=True)
class SegmentReader:
    """Reads the segments of a Segmentation, one at a time: a parcellation has a hundred.

    Attributes:
        path: the file.
        numbers: Segment Numbers to read.
    """

    path: Path
    numbers: tuple[int, ...]

    def __call__(self) -> Iterator[np.ndarray]:
        """The voxels of each segment: boolean (slices, rows, columns).

        Raises:
            Refusal: the frames cannot be decoded.
        """
        opened = _opened(self.path)
        for number in self.numbers:
            try:
                volume = opened.get_volume(segment_numbers=[number], skip_overlap_checks=True)
            except (ValueError, RuntimeError, OSError) as error:
                raise Refusal(
                    "undecodable-pixels",
                    f"segment {number} cannot be decoded: {type(error).__name__}",
                    _SEND_ANEW,
                ) from error
            yield np.asarray(volume.array[..., 0] >= HALF)


def protocol_lines(segmentation: StudySegmentation) -> tuple[str, ...]:
    """Grid, then one line per segment, for people; labels may hold anything and are left out."""
    slices, rows, columns = segmentation.geometry.spatial_shape
    spacing = " × ".join(f"{length:.4g}" for length in segmentation.geometry.spacing)
    return (
        f"{slices} slices of {rows} × {columns} pixels, {spacing} mm (slice, row, column)",
        *(
            f"segment {segment.number}: {segment.type.meaning} ({segment.category.meaning})"
            for segment in segmentation.segments
        ),
        *(
            f"{finding.severity}: {finding.message} [{finding.code}]"
            for finding in segmentation.findings
        ),
    )


def _opened(path: Path) -> Segmentation:
    stream, _ = open_stored(path)
    with stream:
        try:
            return Segmentation.from_dataset(pydicom.dcmread(stream), copy=False)
        # pydicom and highdicom raise errors of many kinds for what is malformed; whatever they
        # raise, the answer is that this object cannot be read.
        except Exception as error:
            raise UnreadableFileError(
                f"a Segmentation cannot be read: {type(error).__name__}"
            ) from error


def _header(path: Path) -> pydicom.Dataset:
    stream, _ = open_stored(path)
    with stream:
        return pydicom.dcmread(stream, stop_before_pixels=True)


def _described(item: SegmentDescription) -> DescribedSegment:
    return DescribedSegment(
        number=item.segment_number,
        label=str(item.segment_label),
        category=_code(item.segmented_property_category),
        type=_code(item.segmented_property_type),
        maker=_maker(item),
    )


def _maker(item: SegmentDescription) -> SegmentMaker:
    kind = item.algorithm_type.value
    identified = item.get("SegmentationAlgorithmIdentificationSequence")
    if identified:
        algorithm = identified[0]
        families = algorithm.get("AlgorithmFamilyCodeSequence")
        return SegmentMaker(
            kind,
            str(algorithm.get("AlgorithmName") or ""),
            str(algorithm.get("AlgorithmVersion") or ""),
            _code(hd.sr.CodedConcept.from_dataset(families[0])) if families else None,
        )
    return SegmentMaker(kind, str(item.get("SegmentAlgorithmName") or ""))


def _code(concept: hd.sr.CodedConcept) -> Code:
    return Code(concept.value, concept.scheme_designator, concept.meaning)


def _fractional() -> tuple[Finding, ...]:
    return (
        Finding(
            "fractional-segmentation",
            f"a fractional Segmentation is taken as binary: voxels of {HALF:g} or more",
            Severity.INFORMATION,
        ),
    )
