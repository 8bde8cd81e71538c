"""Partial volumes of tissues as a Segmentation of fractions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)

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
from operators.vocabulary.run import WrittenObject
from operators.vocabulary.tissue import TissueFraction

_LEVELS = 255


def write_tissue_fractions(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes the fractions below ``folder``; nothing where the result has none.

    Returns:
        The entry of the file, with its path relative to ``folder``, or an empty list.
    """
    if not any(one.volume.array.any() for one in plan.result.fractions):
        return []
    dataset = fractional_segmentation(plan)
    path = plan.folder / "tissue_fractions.dcm"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(folder / path)
    return [
        WrittenObject(
            path=path,
            kind=ObjectKind.TISSUE_FRACTIONS,
            sop_class_uid=dataset.SOPClassUID,
            sop_instance_uid=dataset.SOPInstanceUID,
            series_instance_uid=dataset.SeriesInstanceUID,
        )
    ]


def fractional_segmentation(plan: ResultPlan) -> Segmentation:
    """The fractional Segmentation (PS3.3 A.51): share of each voxel that a tissue occupies.

    Fractions are stored in steps of 1/255.

    Raises:
        ValueError: the fractions lie on different grids.
    """
    fractions = [one for one in plan.result.fractions if one.volume.array.any()]
    geometry = fractions[0].volume.get_geometry()
    if not all(one.volume.geometry_equal(geometry) for one in fractions):
        raise ValueError("tissue fractions lie on different grids")
    numbers = range(1, len(fractions) + 1)
    series = plan.series_of(ObjectKind.TISSUE_FRACTIONS)
    algorithm = plan.result.algorithm
    dataset = Segmentation(
        source_images=[template_image(plan.result.source, geometry)],
        pixel_array=geometry.with_array(
            np.stack([np.clip(one.volume.array, 0, 1) for one in fractions], -1),
            channels={"SegmentNumber": list(numbers)},
        ),
        segmentation_type=SegmentationTypeValues.FRACTIONAL,
        fractional_type=SegmentationFractionalTypeValues.OCCUPANCY,
        max_fractional_value=_LEVELS,
        segment_descriptions=[
            _description(plan, number, one) for number, one in zip(numbers, fractions, strict=True)
        ],
        series_instance_uid=series.uid,
        series_number=series.number,
        sop_instance_uid=plan.instance_uid(ObjectKind.TISSUE_FRACTIONS),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=long_string(algorithm.version),
        device_serial_number=DEVICE_SERIAL_NUMBER,
        content_label="TISSUE_FRACTIONS",
        content_description=long_string(f"Tissue fractions of {algorithm.name}"),
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


def _description(plan: ResultPlan, number: int, one: TissueFraction) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=long_string(one.name),
        segmented_property_category=one.category,
        segmented_property_type=one.type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_identification(plan.result.algorithm),
        tracking_id=long_string(f"{one.name} fraction"),
        tracking_uid=plan.identifiers.other("tracking fraction", one.name),
    )
