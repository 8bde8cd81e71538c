"""The TID 1500 report: statistics of each map over each segment, and the quality findings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr import Measurement as MeasurementItem
from highdicom.sr.value_types import (
    ContainerContentItem,
    ContentSequence,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from operators.results.identifiers import derived_uid
from operators.results.provenance import (
    DEVICE_SERIAL_NUMBER,
    MANUFACTURER,
    contributing_equipment,
    finish_object,
    private_coding_scheme,
)
from operators.results.qualitative_texts import qualitative_texts
from operators.results.segmentation import tracking_identifiers
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import character_set, template_image
from operators.results.value_text import long_string
from operators.vocabulary.acquisition import SourceSeries
from operators.vocabulary.quantity import PRIVATE_SCHEME, QUANTITIES
from operators.vocabulary.result import Algorithm, Measurement, Ratio, Segment
from operators.vocabulary.run import WrittenObject

#: Segments of the study beyond which the report has their mean and standard deviation only.
MOST_IN_FULL = 20
_STATISTICS = (
    ("mean", codes.SCT.Mean),
    ("standard_deviation", codes.SCT.StandardDeviation),
    ("median", codes.SCT.Median),
    ("percentile_5", Code("371888009", "SCT", "Fifth percentile")),
    ("percentile_95", Code("371889001", "SCT", "Ninety-fifth percentile")),
)
_RATIO = Code("MEANRATIO", PRIVATE_SCHEME, "Ratio of mean to mean over reference region")
_NO_UNITS = Code("1", "UCUM", "no units")
_QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
_VOLUME = codes.SCT.Volume
_CUBIC_MILLIMETER = codes.UCUM.CubicMillimeter


def write_measurement_report(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes the report below ``folder``; nothing where no segment holds a voxel.

    Returns:
        The entry of the file, with its path relative to ``folder``, or an empty list.
    """
    if not plan.written_segments():
        return []
    dataset = measurement_report(plan)
    path = plan.folder / "measurements.dcm"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(folder / path)
    return [
        WrittenObject(
            path=path,
            kind=ObjectKind.MEASUREMENT_REPORT,
            sop_class_uid=dataset.SOPClassUID,
            sop_instance_uid=dataset.SOPInstanceUID,
            series_instance_uid=dataset.SeriesInstanceUID,
        )
    ]


def measurement_report(plan: ResultPlan) -> Comprehensive3DSR:
    """Comprehensive 3D SR with an Imaging Measurement Report (PS3.16 TID 1500).

    One measurement group (TID 1411) per segment that holds a voxel: its volume, and mean,
    standard deviation, median, 5th and 95th percentile of every map (of segments of the study,
    where there are more than 20, the first two), and the ratio of its means
    to those over the segment that it is paired with. Each group refers to the segment in the
    Segmentation, whose UID follows from the plan, and to the source series. Quality findings,
    and what tracts connect, stand under Qualitative Evaluations.

    Raises:
        ValueError: no segment holds a voxel.
    """
    segments = plan.written_segments()
    if not segments:
        raise ValueError("no segment holds a voxel, so there is nothing to report")
    algorithm = plan.result.algorithm
    series = plan.series_of(ObjectKind.MEASUREMENT_REPORT)
    template = template_image(plan.result.source, segments[0].volume.get_geometry())
    texts = qualitative_texts(plan)
    said = " ".join([*(item.value for item in texts), *(segment.name for segment in segments)])
    template.SpecificCharacterSet = character_set(plan.result.source.header, said)
    report = MeasurementReport(
        observation_context=_observation_context(plan),
        procedure_reported=codes.LN.MRIUnspecifiedBodyRegion,
        title=codes.DCM.ImagingMeasurementReport,
        imaging_measurements=[
            *(_segment_group(plan, number) for number in range(1, len(segments) + 1)),
        ],
    )
    _append_texts(report, texts)
    dataset = Comprehensive3DSR(
        evidence=[template, _segmentation_identity(plan, template)],
        record_evidence=False,
        content=report,
        series_instance_uid=series.uid,
        series_number=series.number,
        sop_instance_uid=plan.instance_uid(ObjectKind.MEASUREMENT_REPORT),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=long_string(algorithm.version),
        device_serial_number=DEVICE_SERIAL_NUMBER,
        is_complete=True,
        is_final=False,
        contributing_equipment=[contributing_equipment(algorithm)],
        coding_schemes=[private_coding_scheme()],
        series_description=series.description,
    )
    finish_object(dataset, plan)
    plan.references.name_evidence_and_regions(dataset, "PertinentOtherEvidenceSequence")
    return dataset


def _observation_context(plan: ResultPlan) -> ObservationContext:
    algorithm = plan.result.algorithm
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=derived_uid("observer", algorithm.name, algorithm.version),
                name=algorithm.name,
                manufacturer_name=MANUFACTURER,
                model_name=algorithm.name,
                serial_number=DEVICE_SERIAL_NUMBER,
            ),
        )
    )


def _segment_group(
    plan: ResultPlan, number: int
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    segment = plan.written_segments()[number - 1]
    tracking_id, tracking_uid = tracking_identifiers(plan, number)
    measurements = [m for m in plan.measurements if m.segment == segment.name]
    ratios = [one for one in plan.ratios if one.segment == segment.name]
    voxels = int((segment.volume.array > 0).sum())
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=tracking_id),
        referenced_segment=ReferencedSegment(
            sop_class_uid=SegmentationStorage,
            sop_instance_uid=plan.instance_uid(ObjectKind.SEGMENTATION),
            segment_number=number,
            source_series=_source_series(plan.result.source),
        ),
        finding_type=segment.type,
        measurements=[
            MeasurementItem(_VOLUME, voxels * segment.volume.voxel_volume, _CUBIC_MILLIMETER),
            *_statistics(measurements, plan.result.algorithm, _statistics_of(segment, plan)),
            *(
                MeasurementItem(one.name, one.value, one.unit)
                for one in plan.result.region_values
                if one.segment == segment.name
            ),
            *_ratios(ratios, plan.result.algorithm),
        ],
    )


def _source_series(source: SourceSeries) -> SourceSeriesForSegmentation:
    """The source series as a whole: a series may have thousands of images."""
    item = SourceSeriesForSegmentation(source.series_instance_uid)
    # As TID 1411 spells it; highdicom writes capitals, to which the validator objects.
    item.ConceptNameCodeSequence[0].CodeMeaning = "Source series for segmentation"
    return item


def _statistics_of(segment: Segment, plan: ResultPlan) -> tuple[tuple[str, Code], ...]:
    """All statistics; of the many segments of a parcellation mean and standard deviation."""
    drawn = sum(one.maker is not None for one in plan.written_segments())
    return _STATISTICS[:2] if segment.maker is not None and drawn > MOST_IN_FULL else _STATISTICS


def _statistics(
    measurements: Iterable[Measurement],
    algorithm: Algorithm,
    statistics: tuple[tuple[str, Code], ...],
) -> list[MeasurementItem]:
    items: list[MeasurementItem] = []
    for measurement in measurements:
        quantity = QUANTITIES[measurement.quantity]
        items.extend(
            MeasurementItem(
                name=quantity.code,
                value=getattr(measurement, attribute),
                unit=quantity.unit,
                derivation=derivation,
                algorithm_id=_algorithm_identification(algorithm),
            )
            for attribute, derivation in statistics
        )
    return items


def _ratios(ratios: Iterable[Ratio], algorithm: Algorithm) -> list[MeasurementItem]:
    return [
        MeasurementItem(
            name=QUANTITIES[ratio.quantity].code,
            value=ratio.value,
            unit=_NO_UNITS,
            derivation=_RATIO,
            algorithm_id=_algorithm_identification(algorithm),
        )
        for ratio in ratios
    ]


def _algorithm_identification(algorithm: Algorithm) -> AlgorithmIdentification:
    """Name, version and family (TID 4019); settings and digests are in the equipment."""
    family = codes.DCM.ArtificialIntelligence if algorithm.model_sha256 else None
    return AlgorithmIdentification(name=algorithm.name, version=algorithm.version, family=family)


def _append_texts(report: MeasurementReport, texts: list[TextContentItem]) -> None:
    """Adds quality findings and other sentences (TID 1500, rows 12 and 14)."""
    if not texts:
        return
    container = ContainerContentItem(
        name=_QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = ContentSequence(texts)
    report[0].ContentSequence.append(container)


def _segmentation_identity(plan: ResultPlan, template: Dataset) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = template.StudyInstanceUID
    item.SeriesInstanceUID = plan.series_of(ObjectKind.SEGMENTATION).uid
    item.SOPClassUID = SegmentationStorage
    item.SOPInstanceUID = plan.instance_uid(ObjectKind.SEGMENTATION)
    return item
