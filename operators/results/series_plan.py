"""The plan of what is written for each result: series, numbers, descriptions, folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from operators.results.identifiers import ResultIdentifiers
from operators.results.references import SourceReferences
from operators.results.value_text import long_string
from operators.vocabulary.quantity import QuantityMap
from operators.vocabulary.result import (
    ColourMap,
    Measurement,
    PipelineResult,
    Ratio,
    Segment,
    ratios_of,
)

_LARGEST_INTEGER_STRING = 2**31 - 1
_NUMBERS_PER_SOURCE = 1000


class ObjectKind(StrEnum):
    """What a written object is."""

    VIEWER_IMAGE = "viewer image"
    PARAMETRIC_MAP = "parametric map"
    COLOUR_MAP = "colour map"
    COLOUR_COPY = "colour viewer image"
    SEGMENTATION = "segmentation"
    MEASUREMENT_REPORT = "measurement report"
    SUMMARY_PAGE = "summary page"
    SUMMARY_PICTURE = "summary picture"
    TISSUE_FRACTIONS = "tissue fractions"
    SYNTHETIC_IMAGE = "synthetic image"
    TRACTOGRAM = "tractogram"
    TRACTOGRAM_FILE = "tractogram exchange file"
    CONNECTIVITY_TABLE = "connectivity table"


_FIRST_NUMBER = {
    ObjectKind.VIEWER_IMAGE: 1,
    ObjectKind.PARAMETRIC_MAP: 101,
    ObjectKind.COLOUR_MAP: 201,
    ObjectKind.COLOUR_COPY: 251,
    ObjectKind.SEGMENTATION: 301,
    ObjectKind.MEASUREMENT_REPORT: 302,
    ObjectKind.SUMMARY_PAGE: 303,
    ObjectKind.TISSUE_FRACTIONS: 305,
    ObjectKind.SYNTHETIC_IMAGE: 401,
    ObjectKind.TRACTOGRAM: 304,
}


@dataclass(frozen=True)
class PlannedSeries:
    """One series to be written.

    Attributes:
        role: what it holds; enters its UIDs.
        uid: Series Instance UID.
        number: Series Number.
        description: Series Description, at most 64 ASCII characters.
    """

    role: str
    uid: str
    number: int
    description: str


@dataclass(frozen=True)
class ResultPlan:
    """Everything that the writers of one result must agree on.

    Attributes:
        result: what is written.
        identifiers: its UIDs.
        folder: folder of its files, relative to the result folder.
        created: date and time stated in its objects.
        series: its series by role.
    """

    result: PipelineResult
    identifiers: ResultIdentifiers
    folder: Path
    created: datetime
    series: dict[str, PlannedSeries]

    @cached_property
    def references(self) -> SourceReferences:
        """References to the source images, shared by all objects of the result."""
        return SourceReferences(self.result)

    @cached_property
    def measurements(self) -> tuple[Measurement, ...]:
        """Statistics of every map over every segment, computed once for report and page."""
        return self.result.measurements()

    @cached_property
    def ratios(self) -> tuple[Ratio, ...]:
        """Ratios of the means of paired segments."""
        return ratios_of(self.measurements, self.result.pairs)

    def series_of(self, kind: ObjectKind, name: str = "") -> PlannedSeries:
        """The series of one kind, and of one map where the kind has several."""
        return self.series[role_of(kind, name)]

    def instance_uid(self, kind: ObjectKind, name: str = "", number: int = 1) -> str:
        """SOP Instance UID of instance ``number`` of such a series."""
        return self.identifiers.instance(role_of(kind, name), number)

    def written_segments(self) -> tuple[Segment, ...]:
        """Segments that hold a voxel: item ``k`` has Segment Number ``k + 1``."""
        return tuple(segment for segment in self.result.segments if segment.volume.array.any())


def role_of(kind: ObjectKind, name: str = "") -> str:
    """Text that names a series within one result."""
    return f"{kind}/{name}"


def plan_results(results: Sequence[PipelineResult], created: datetime) -> list[ResultPlan]:
    """Plans all results of one study together, so that no two series share a number.

    A result of series 5 takes numbers from 5001 on: viewable copies first, then float maps
    from 5101, colour maps from 5201, their copies from 5251, and 5301 to 5304 for segmentation,
    report, page and tracts. A number that is taken, by another result or by a source series, is
    passed over.

    Args:
        results: all results of the study, in order.
        created: date and time stated in the objects.
    """
    taken = {
        number
        for result in results
        for source in (result.source, *result.further_sources)
        if (number := source.series_number) is not None
    }
    folders: set[Path] = set()
    plans = []
    for result in results:
        identifiers = ResultIdentifiers(result)
        plans.append(
            ResultPlan(
                result=result,
                identifiers=identifiers,
                folder=_free_folder(result, folders),
                created=created,
                series=_plan_series(result, identifiers, taken),
            )
        )
    return plans


def _plan_series(
    result: PipelineResult, identifiers: ResultIdentifiers, taken: set[int]
) -> dict[str, PlannedSeries]:
    base = _base_number(result.source.series_number)
    planned = {}
    for kind, first in _FIRST_NUMBER.items():
        named: Sequence[tuple[str, str]]
        if kind in (ObjectKind.VIEWER_IMAGE, ObjectKind.PARAMETRIC_MAP):
            named = [_map_name_and_label(quantity_map) for quantity_map in result.maps]
        elif kind in (ObjectKind.COLOUR_MAP, ObjectKind.COLOUR_COPY):
            named = [_colour_name_and_label(colour_map) for colour_map in result.colour_maps]
        elif kind is ObjectKind.SYNTHETIC_IMAGE:
            named = [(image.name, image.label) for image in result.synthetic_images]
        else:
            named = [("", "")]
        number = base + first
        for name, label in named:
            while number in taken:
                number += 1
            taken.add(number)
            role = role_of(kind, name)
            planned[role] = PlannedSeries(
                role=role,
                uid=identifiers.series(role),
                number=number,
                description=_description(kind, label, result.algorithm.name),
            )
    return planned


def _map_name_and_label(quantity_map: QuantityMap) -> tuple[str, str]:
    return quantity_map.quantity.name, quantity_map.quantity.label


def _colour_name_and_label(colour_map: ColourMap) -> tuple[str, str]:
    return colour_map.name, colour_map.label


def _base_number(source_number: int | None) -> int:
    """First number of the block of a source series; within an Integer String (PS3.5 6.2)."""
    blocks = _LARGEST_INTEGER_STRING // _NUMBERS_PER_SOURCE - 1
    return _NUMBERS_PER_SOURCE * (abs(source_number or 0) % blocks)


def _description(kind: ObjectKind, label: str, algorithm: str) -> str:
    """Names the content first: archives cut long descriptions at the end."""
    what = {
        ObjectKind.VIEWER_IMAGE: label,
        ObjectKind.PARAMETRIC_MAP: f"{label} (float map)",
        ObjectKind.COLOUR_MAP: label,
        ObjectKind.COLOUR_COPY: f"{label} (copy)",
        ObjectKind.SEGMENTATION: "Segmentation",
        ObjectKind.MEASUREMENT_REPORT: "Measurements",
        ObjectKind.SUMMARY_PAGE: "Summary",
        ObjectKind.TISSUE_FRACTIONS: "Tissue fractions",
        ObjectKind.SYNTHETIC_IMAGE: f"{label} synthetic",
        ObjectKind.TRACTOGRAM: "Tracts",
    }[kind]
    return long_string(f"{what} [{algorithm}]")


def _free_folder(result: PipelineResult, folders: set[Path]) -> Path:
    number = result.source.series_number
    stem = f"{result.pipeline}-series-{'unnumbered' if number is None else number}"
    folder, copy = Path(stem), 2
    while folder in folders:
        folder, copy = Path(f"{stem}-{copy}"), copy + 1
    folders.add(folder)
    return folder
