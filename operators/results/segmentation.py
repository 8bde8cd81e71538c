"""The Segmentation of a result: all its regions in one object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.sr.coding import Code

from operators.results.provenance import (
    DEVICE_SERIAL_NUMBER,
    MANUFACTURER,
    algorithm_identification,
    contributing_equipment,
    finish_object,
    private_coding_scheme,
)
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.value_text import long_string
from operators.vocabulary.quantity import PRIVATE_SCHEME
from operators.vocabulary.result import Segment
from operators.vocabulary.run import WrittenObject

# Recommended display colours (red, green, blue), told apart by colour-blind readers too:
# Okabe and Ito, https://jfly.uni-koeln.de/color/
_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
    (204, 121, 167),
)
# Whoever exported a drawing often left out what its algorithm belongs to.
_UNSTATED_FAMILY = Code("NOTSTATED", PRIVATE_SCHEME, "Algorithm family not stated")


def write_segmentation(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes the Segmentation below ``folder``; nothing where no segment holds a voxel.

    Returns:
        The entry of the file, with its path relative to ``folder``, or an empty list.
    """
    if not plan.written_segments():
        return []
    dataset = segmentation(plan)
    path = plan.folder / "segmentation.dcm"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(folder / path)
    return [
        WrittenObject(
            path=path,
            kind=ObjectKind.SEGMENTATION,
            sop_class_uid=dataset.SOPClassUID,
            sop_instance_uid=dataset.SOPInstanceUID,
            series_instance_uid=dataset.SeriesInstanceUID,
        )
    ]


def segmentation(plan: ResultPlan) -> Segmentation:
    """The binary Segmentation (PS3.3 A.51) of every segment that holds a voxel.

    Binary, because few viewers know label maps yet. Segments may overlap.

    Raises:
        ValueError: the segments lie on different grids, or none holds a voxel.
    """
    segments = plan.written_segments()
    if not segments:
        raise ValueError("no segment holds a voxel")
    geometry = segments[0].volume.get_geometry()
    if not all(segment.volume.geometry_equal(geometry) for segment in segments):
        raise ValueError("segments lie on different grids")
    numbers = range(1, len(segments) + 1)
    series = plan.series_of(ObjectKind.SEGMENTATION)
    algorithm = plan.result.algorithm
    dataset = Segmentation(
        source_images=[template_image(plan.result.source, geometry)],
        pixel_array=geometry.with_array(
            np.stack([segment.volume.array > 0 for segment in segments], -1).astype(np.uint8),
            channels={"SegmentNumber": list(numbers)},
        ),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(plan, number) for number in numbers],
        series_instance_uid=series.uid,
        series_number=series.number,
        sop_instance_uid=plan.instance_uid(ObjectKind.SEGMENTATION),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=long_string(algorithm.version),
        device_serial_number=DEVICE_SERIAL_NUMBER,
        content_label="SEGMENTATION",
        content_description=long_string(f"Regions of {algorithm.name}"),
        contributing_equipment=[contributing_equipment(algorithm)],
        coding_schemes=[private_coding_scheme()],
        series_description=series.description,
    )
    dataset.ContentCreatorName = None
    finish_object(dataset, plan)
    plan.references.name_images(dataset)
    plan.references.name_series(dataset)
    plan.references.name_images_of_frames(dataset, geometry)
    return dataset


def tracking_identifiers(plan: ResultPlan, number: int) -> tuple[str, str]:
    """(Tracking ID, Tracking UID) of a segment, the same in Segmentation and report."""
    segment = plan.written_segments()[number - 1]
    return long_string(segment.name), plan.identifiers.other("tracking", segment.name, str(number))


def _description(plan: ResultPlan, number: int) -> SegmentDescription:
    segment = plan.written_segments()[number - 1]
    tracking_id, tracking_uid = tracking_identifiers(plan, number)
    kind, algorithm = _maker(plan, segment)
    return SegmentDescription(
        segment_number=number,
        segment_label=long_string(segment.name),
        segmented_property_category=segment.category,
        segmented_property_type=segment.type,
        algorithm_type=kind,
        algorithm_identification=algorithm,
        tracking_id=tracking_id,
        tracking_uid=tracking_uid,
        display_color=CIELabColor.from_rgb(*_COLOURS[(number - 1) % len(_COLOURS)]),
    )


def _maker(
    plan: ResultPlan, segment: Segment
) -> tuple[SegmentAlgorithmTypeValues, AlgorithmIdentificationSequence | None]:
    """Who drew a segment: of the study's own, whoever drew it there; this software else.

    A family is required with an algorithm; where the drawing states none, that is what is said.
    """
    if segment.maker is None:
        identification = algorithm_identification(plan.result.algorithm)
        return SegmentAlgorithmTypeValues.AUTOMATIC, identification
    kind = SegmentAlgorithmTypeValues(segment.maker.kind)
    if kind is SegmentAlgorithmTypeValues.MANUAL:
        return kind, None
    return kind, AlgorithmIdentificationSequence(
        name=long_string(segment.maker.name or "not stated"),
        family=segment.maker.family or _UNSTATED_FAMILY,
        version=long_string(segment.maker.version or "not stated"),
    )
