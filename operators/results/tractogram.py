"""The Tractography Results object of the tracks (PS3.3 A.78, C.8.33)."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, TM

from operators.results.derived_object import derived_object
from operators.results.provenance import finish_object
from operators.results.series_plan import ObjectKind, ResultPlan
from operators.results.source import template_image
from operators.results.track_colour import track_colours
from operators.results.value_text import long_string
from operators.vocabulary.quantity import QUANTITIES
from operators.vocabulary.run import WrittenObject
from operators.vocabulary.tracts import TrackSet

TRACTOGRAPHY_RESULTS = "1.2.840.10008.5.1.4.1.1.66.6"
LENGTH = Code("410668003", "SCT", "Length")
_MILLIMETER = codes.UCUM.Millimeter
# Track colours are told apart in steps of this size: each colour is converted once.
_COLOUR_STEP = 8


def write_tractogram(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes the object below ``folder``; nothing where the result has no tracks.

    Returns:
        The entry of the file, with its path relative to ``folder``, or an empty list.
    """
    if plan.result.tracks is None:
        return []
    dataset = tractogram(plan, plan.result.tracks)
    path = plan.folder / "tracts.dcm"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(folder / path, enforce_file_format=True)
    return [
        WrittenObject(
            path=path,
            kind=ObjectKind.TRACTOGRAM,
            sop_class_uid=dataset.SOPClassUID,
            sop_instance_uid=dataset.SOPInstanceUID,
            series_instance_uid=dataset.SeriesInstanceUID,
        )
    ]


def tractogram(plan: ResultPlan, tracks: TrackSet) -> hd.SOPClass:
    """One track set: points in mm in the patient frame, FA at each point, and statistics.

    Args:
        plan: UIDs, series and source.
        tracks: at least one track.
    """
    template = template_image(plan.result.source, tracks.geometry)
    dataset = derived_object(
        plan,
        plan.series_of(ObjectKind.TRACTOGRAM),
        template,
        sop_class_uid=TRACTOGRAPHY_RESULTS,
        sop_instance_uid=plan.instance_uid(ObjectKind.TRACTOGRAM),
        modality="MR",
    )
    dataset.FrameOfReferenceUID = template.FrameOfReferenceUID
    dataset.PositionReferenceIndicator = template.PositionReferenceIndicator
    dataset.ContentLabel = "TRACTS"
    dataset.ContentDescription = long_string(f"Tracts of {plan.result.algorithm.name}")
    dataset.ContentCreatorName = None
    dataset.ContentDate = DA(plan.created.date())
    dataset.ContentTime = TM(plan.created.time())
    dataset.TrackSetSequence = [_track_set(plan, tracks)]
    finish_object(dataset, plan)
    plan.references.name_images(dataset, "ReferencedInstanceSequence")
    plan.references.name_series(dataset)
    return dataset


def _track_set(plan: ResultPlan, tracks: TrackSet) -> Dataset:
    algorithm = plan.result.algorithm
    anisotropy = QUANTITIES["fractional_anisotropy"]
    item = Dataset()
    item.TrackSetNumber = 1
    item.TrackSetLabel = long_string(tracks.label)
    item.TrackSetAnatomicalTypeCodeSequence = [CodedConcept.from_code(tracks.site)]
    item.TrackSequence = _track_items(tracks)
    measured = _measurement(anisotropy.code, anisotropy.unit)
    measured.MeasurementValuesSequence = [
        _values(part) for part in np.split(tracks.anisotropy, tracks.offsets[1:-1])
    ]
    item.MeasurementsSequence = [measured]
    along = _measurement(anisotropy.code, anisotropy.unit, codes.SCT.Mean)
    along.FloatingPointValues = _floats(tracks.mean_anisotropy())
    item.TrackStatisticsSequence = [along]
    lengths = tracks.lengths()
    item.TrackSetStatisticsSequence = [
        _statistic(anisotropy.code, anisotropy.unit, codes.SCT.Mean, tracks.anisotropy.mean()),
        _statistic(
            anisotropy.code,
            anisotropy.unit,
            codes.SCT.StandardDeviation,
            tracks.anisotropy.astype(np.float64).std(ddof=1),
        ),
        _statistic(LENGTH, _MILLIMETER, codes.SCT.Mean, lengths.mean()),
        _statistic(LENGTH, _MILLIMETER, codes.SCT.Minimum, lengths.min()),
        _statistic(LENGTH, _MILLIMETER, codes.SCT.Maximum, lengths.max()),
    ]
    item.DiffusionModelCodeSequence = [CodedConcept.from_code(tracks.model)]
    item.TrackingAlgorithmIdentificationSequence = hd.AlgorithmIdentificationSequence(
        name=long_string(algorithm.name),
        family=tracks.family,
        version=long_string(algorithm.version),
        source=long_string(algorithm.source),
        parameters=dict(sorted(tracks.parameters.items())),
    )
    return item


def _track_items(tracks: TrackSet) -> list[Dataset]:
    """Points of each track, x, y, z in mm, and its colour by direction."""
    colours = (track_colours(tracks) // _COLOUR_STEP * _COLOUR_STEP).astype(int)
    lab: dict[tuple[int, ...], list[int]] = {}
    items = []
    for points, colour in zip(tracks.tracks(), map(tuple, colours), strict=True):
        if colour not in lab:
            lab[colour] = list(CIELabColor.from_rgb(*colour).value)
        item = Dataset()
        item.PointCoordinatesData = _floats(points)
        item.RecommendedDisplayCIELabValue = lab[colour]
        items.append(item)
    return items


def _floats(values: np.ndarray) -> bytes:
    """Other Float, little endian as the transfer syntax says (PS3.5 6.2)."""
    return values.astype("<f4").tobytes()


def _values(values: np.ndarray) -> Dataset:
    item = Dataset()
    item.FloatingPointValues = _floats(values)
    return item


def _measurement(quantity: Code, unit: Code, statistic: Code | None = None) -> Dataset:
    item = Dataset()
    item.ConceptNameCodeSequence = [CodedConcept.from_code(quantity)]
    if statistic is not None:
        item.ModifierCodeSequence = [CodedConcept.from_code(statistic)]
    item.MeasurementUnitsCodeSequence = [CodedConcept.from_code(unit)]
    return item


def _statistic(quantity: Code, unit: Code, statistic: Code, value: float) -> Dataset:
    item = _measurement(quantity, unit, statistic)
    item.FloatingPointValue = float(value)
    return item
