"""The float Parametric Map of each quantity: the exact values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr.coding import CodedConcept
from highdicom.sr.value_types import CodeContentItem, TextContentItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DSfloat

from operators.results.anatomy import frame_anatomy
from operators.results.provenance import (
    DEVICE_SERIAL_NUMBER,
    MANUFACTURER,
    contributing_equipment,
    finish_object,
    private_coding_scheme,
)
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.value_text import code_string, long_string, short_text
from operators.results.value_window import display_window, voi_lut
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.quantity import QuantityMap
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import WrittenObject

_MEASUREMENT_METHOD = codes.SCT.MeasurementMethod
_B_VALUE_UNIT = Code("s/mm2", "UCUM", "second per square millimeter")


def write_parametric_maps(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes one Parametric Map per quantity map below ``folder``.

    Returns:
        One entry per file, with paths relative to ``folder``.
    """
    written = []
    for quantity_map in plan.result.maps:
        dataset = parametric_map(plan, quantity_map)
        path = plan.folder / "maps" / f"{quantity_map.quantity.name}.dcm"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(folder / path)
        written.append(
            WrittenObject(
                path=path,
                kind=ObjectKind.PARAMETRIC_MAP,
                sop_class_uid=dataset.SOPClassUID,
                sop_instance_uid=dataset.SOPInstanceUID,
                series_instance_uid=dataset.SeriesInstanceUID,
                quantity=quantity_map.quantity.name,
            )
        )
    return written


def parametric_map(plan: ResultPlan, quantity_map: QuantityMap) -> ParametricMap:
    """The Parametric Map (PS3.3 A.75) of one quantity map.

    Values are stored as float32, unchanged. Frames ascend along row x column, because
    readers exist (dcmqi) that stack them in stored order.

    Args:
        plan: UIDs, series and source.
        quantity_map: float32 (slices, rows, columns), every value finite.

    Raises:
        ValueError: a value is not finite, or the array is not float32.
    """
    quantity = quantity_map.quantity
    values = quantity_map.volume.array
    if values.dtype != np.float32 or not np.isfinite(values).all():
        raise ValueError(f"map {quantity.name} must hold finite float32 values")
    series = plan.series_of(ObjectKind.PARAMETRIC_MAP, quantity.name)
    algorithm = plan.result.algorithm
    dataset = ParametricMap(
        source_images=[template_image(plan.result.source, quantity_map.volume.get_geometry())],
        pixel_array=quantity_map.volume,
        series_instance_uid=series.uid,
        series_number=series.number,
        sop_instance_uid=plan.instance_uid(ObjectKind.PARAMETRIC_MAP, quantity.name),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=long_string(algorithm.version),
        device_serial_number=DEVICE_SERIAL_NUMBER,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_real_world_value_mapping(plan.result, quantity_map)],
        voi_lut_transformations=[voi_lut(display_window(quantity_map))],
        content_label=code_string(quantity.label),
        content_description=long_string(quantity.code.meaning),
        contributing_equipment=[contributing_equipment(algorithm)],
        coding_schemes=[private_coding_scheme()],
        series_description=series.description,
    )
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.FrameAnatomySequence = [frame_anatomy(plan.result.source.header)]
    dataset.ContentCreatorName = None
    _ascend_along_normal(dataset)
    dataset.DerivationDescription = short_text(
        f"{quantity.code.meaning} in {quantity.unit.value}, {quantity_map.background:g} where not "
        f"computed; by {algorithm.name} {algorithm.version}"
    )
    finish_object(dataset, plan)
    plan.references.name_images(dataset)
    plan.references.name_series(dataset)
    plan.references.name_images_of_frames(dataset, quantity_map.volume.get_geometry())
    return dataset


def _real_world_value_mapping(
    result: PipelineResult, quantity_map: QuantityMap
) -> RealWorldValueMapping:
    """Identity mapping over the whole float range of the map, with unit and quantity."""
    quantity = quantity_map.quantity
    values = quantity_map.volume.array
    mapping = RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=long_string(quantity.code.meaning),
        unit=quantity.unit,
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity.code,
    )
    quantity_definition: list[Dataset] = [*mapping.QuantityDefinitionSequence]
    quantity_definition += _quantity_qualifiers(result, quantity_map)
    mapping["QuantityDefinitionSequence"].value = quantity_definition
    return mapping


def _quantity_qualifiers(result: PipelineResult, quantity_map: QuantityMap) -> list[Dataset]:
    """How the quantity was obtained: model, algorithm, b-values (PS3.16 CID 9000)."""
    algorithm = result.algorithm
    items: list[Dataset] = []
    if quantity_map.quantity.model is not None:
        items.append(CodeContentItem(_MEASUREMENT_METHOD, quantity_map.quantity.model))
    items.append(
        TextContentItem(
            _MEASUREMENT_METHOD, f"{algorithm.name} {algorithm.version} ({algorithm.source})"
        )
    )
    if isinstance(result.protocol, GradientTable):
        items.extend(_b_value_item(b) for b in np.unique(np.rint(result.protocol.b_values)))
    return items


def _b_value_item(b_value: float) -> Dataset:
    """Content Item Macro (PS3.3 10.2), whose numbers are NUMERIC where those of SR are NUM."""
    item = Dataset()
    item.ValueType = "NUMERIC"
    item.ConceptNameCodeSequence = [CodedConcept.from_code(codes.DCM.SourceImageDiffusionBValue)]
    item.NumericValue = DSfloat(float(b_value))
    item.MeasurementUnitsCodeSequence = [CodedConcept.from_code(_B_VALUE_UNIT)]
    return item


def _ascend_along_normal(dataset: ParametricMap) -> None:
    """Reverses the frames, which highdicom stores descending along row x column."""
    frames = int(dataset.NumberOfFrames)
    values = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(frames, -1)
    dataset.FloatPixelData = values[::-1].tobytes()
    items = list(dataset.PerFrameFunctionalGroupsSequence)[::-1]
    for number, item in enumerate(items, start=1):
        item.FrameContentSequence[0].DimensionIndexValues = [number]
    dataset.PerFrameFunctionalGroupsSequence = items
