"""Segments that came with the study, on the maps of every pipeline.

A step between the pipelines and the results, the same for all: a lesion that somebody drew is
measured on every map, beside the region across the midline; a parcellation gives the segments
that tracks connect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import highdicom as hd
import numpy as np

from operators.inference.connectivity import connect
from operators.inference.contralateral import with_mirrored
from operators.inference.resample import nearest_voxels, same_voxels
from operators.inference.segments import ANALYSED
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.refusal import Refusal
from operators.vocabulary.result import PipelineResult, Segment
from operators.vocabulary.run import PipelineOutcome
from operators.vocabulary.study_segmentation import DescribedSegment, StudySegmentation
from operators.vocabulary.tracts import Connectivity

#: Categories of segments that make up a parcellation, by code value: Anatomical Structure and
#: Tissue, as SCT and as the retired SRT that other people's objects still hold.
_ANATOMY = {"123037004", "T-D000A", "85756007", "T-D0050"}


@dataclass(frozen=True)
class _Drawn:
    """The segments of one Segmentation on the grid of a result.

    Attributes:
        segments: those that hold an analysed voxel.
        labels: int32 (slices, rows, columns): 1 for the first anatomical segment of
            ``anatomy`` and so on, 0 elsewhere.
        anatomy: names of the anatomical segments.
        findings: what a reader must know of them.
    """

    segments: list[Segment]
    labels: np.ndarray
    anatomy: list[str]
    findings: list[Finding]


def with_study_segments(
    outcomes: Sequence[PipelineOutcome], segmentations: Sequence[StudySegmentation]
) -> list[PipelineOutcome]:
    """The outcomes, every result with the segments of the study that lie on its maps.

    Args:
        outcomes: of all pipelines.
        segmentations: that came with the study.

    Returns:
        one outcome per pipeline, in order. A Segmentation that can be placed on no result, as
        its Frame of Reference is another, is a refusal of the first pipeline that has results.
    """
    placed: set[str] = set()
    refused: dict[str, Refusal] = {}
    grown: list[PipelineOutcome] = []
    for outcome in outcomes:
        results = []
        for result in outcome.results:
            for segmentation in segmentations:
                uid = segmentation.source.images[0].sop_instance_uid
                try:
                    result = _with_segmentation(result, segmentation)
                    placed.add(uid)
                except Refusal as refusal:
                    refused[uid] = refusal.of_series(
                        segmentation.source.series_instance_uid, segmentation.source.series_number
                    )
            results.append(with_mirrored(result))
        grown.append(replace(outcome, results=tuple(results)))
    useless = tuple(refusal for uid, refusal in refused.items() if uid not in placed)
    for index, outcome in enumerate(grown):
        if outcome.results and useless:
            grown[index] = replace(outcome, refusals=(*outcome.refusals, *useless))
            break
    return grown


def _with_segmentation(result: PipelineResult, segmentation: StudySegmentation) -> PipelineResult:
    """The result with the segments of one Segmentation.

    Raises:
        Refusal: it lies in another Frame of Reference, or cannot be decoded.
    """
    grid = _grid_of(result)
    if grid is None:
        return result
    drawn = _draw(result, segmentation, grid)
    connectivity: tuple[Connectivity, ...] = ()
    if result.tracks is not None and len(drawn.anatomy) > 1:
        connectivity = (connect(result.tracks, drawn.labels, drawn.anatomy, segmentation.source),)
    return replace(
        result,
        segments=(*result.segments, *drawn.segments),
        findings=(*result.findings, *segmentation.findings, *drawn.findings),
        connectivity=(*result.connectivity, *connectivity),
        region_sources=(*result.region_sources, segmentation.source),
    )


def _grid_of(result: PipelineResult) -> hd.VolumeGeometry | None:
    return result.maps[0].volume.get_geometry() if result.maps else None


def _draw(
    result: PipelineResult, segmentation: StudySegmentation, grid: hd.VolumeGeometry
) -> _Drawn:
    """Every segment on the grid of the maps, and what was lost on the way."""
    nearest = nearest_voxels(segmentation.geometry, grid)
    inside = nearest >= 0
    analysed = _analysed(result)
    drawn = _Drawn([], np.zeros(grid.spatial_shape, np.int32), [], [])
    taken = {segment.name for segment in result.segments}
    empty, cut, overlapping = [], [], 0
    for described, region in zip(segmentation.segments, segmentation.read(), strict=True):
        there = np.zeros(grid.spatial_shape, bool)
        there[inside] = region.ravel()[nearest[inside]]
        name = _free_name(described, segmentation, taken)
        if described.category.value in _ANATOMY:
            drawn.anatomy.append(name)
            overlapping += int((there & (drawn.labels > 0)).sum())
            drawn.labels[there & (drawn.labels == 0)] = len(drawn.anatomy)
        measured = there & analysed
        if not measured.any():
            empty.append(described.number)
            continue
        if measured.sum() < there.sum():
            cut.append((described.number, int(there.sum() - measured.sum())))
        drawn.segments.append(
            Segment(
                name,
                described.category,
                described.type,
                grid.with_array(measured.astype(np.uint8)),
                described.maker,
            )
        )
    drawn.findings.extend(_findings(segmentation, grid, empty, cut, overlapping))
    return drawn


def _analysed(result: PipelineResult) -> np.ndarray:
    """Voxels with a result: those that the pipeline names, or else all but background."""
    for segment in result.segments:
        if segment.type == ANALYSED:
            return np.asarray(segment.volume.array > 0)
    known = np.zeros(result.maps[0].volume.spatial_shape, bool)
    for quantity_map in result.maps:
        known |= quantity_map.volume.array != quantity_map.background
    return known


def _free_name(
    described: DescribedSegment, segmentation: StudySegmentation, taken: set[str]
) -> str:
    """The label of a segment, with series and number where another has it; then it is taken."""
    name = described.label or described.type.meaning
    if name in taken:
        number = segmentation.source.series_number
        series = "unnumbered series" if number is None else f"series {number}"
        name = f"{name} [{series}, segment {described.number}]"
    copy = 2
    while name in taken:
        name, copy = f"{name} ({copy})", copy + 1
    taken.add(name)
    return name


def _findings(
    segmentation: StudySegmentation,
    grid: hd.VolumeGeometry,
    empty: list[int],
    cut: list[tuple[int, int]],
    overlapping: int,
) -> list[Finding]:
    """What became of the segments; named by number, as a label may hold anything."""
    number = segmentation.source.series_number
    what = "an unnumbered series" if number is None else f"series {number}"
    found = []
    if not same_voxels(segmentation.geometry, grid):
        sides = (
            " × ".join(f"{side:.3g}" for side in geometry.spacing)
            for geometry in (segmentation.geometry, grid)
        )
        found.append(
            Finding(
                "segments-resampled",
                f"the segments of {what} were put on the grid of the maps by nearest voxel "
                f"({' mm to '.join(sides)} mm)",
                Severity.INFORMATION,
            )
        )
    if empty:
        found.append(
            Finding(
                "segment-without-voxel",
                f"no analysed voxel lies in segment {_numbers(empty)} of {what}: not measured",
                Severity.WARNING,
            )
        )
    if cut:
        shown = ", ".join(f"{voxels} of segment {segment}" for segment, voxels in cut[:6])
        more = f" and of {len(cut) - 6} segments more" if len(cut) > 6 else ""
        found.append(
            Finding(
                "segment-beyond-analysed",
                f"voxels of {what} without a result were left out: {shown}{more}",
                Severity.INFORMATION,
            )
        )
    if overlapping:
        found.append(
            Finding(
                "overlapping-parcellation",
                f"{overlapping} voxels lie in several anatomical segments of {what}: for "
                "connectivity they belong to the first",
                Severity.WARNING,
            )
        )
    return found


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:12]))
    return f"{shown} and {len(numbers) - 12} more" if len(numbers) > 12 else shown
