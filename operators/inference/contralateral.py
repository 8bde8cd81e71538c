"""The region across the midline, beside each segment that came with the study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from operators.inference.midsagittal_plane import midsagittal_plane
from operators.vocabulary.finding import Finding, Severity
from operators.vocabulary.quantity import PRIVATE_SCHEME
from operators.vocabulary.result import PipelineResult, Segment, SegmentPair

MIRRORED = Code("MIRRORED", PRIVATE_SCHEME, "Region mirrored at the midsagittal plane")
#: Segments of a study above which none is mirrored: a parcellation holds its own other side.
MOST_MIRRORED = 12
#: Part of a region that must remain across the midline when the region itself, and other
#: lesions, are taken out of its mirror image.
LEAST_LEFT = 0.5
#: Category of lesions, as SCT and as the retired SRT that other people's objects still hold.
_LESION = {"49755003", "M-01000"}


def with_mirrored(result: PipelineResult) -> PipelineResult:
    """The result with the mirror image of each segment that somebody drew, to compare with.

    A mirror image holds analysed voxels of the brain only, and none of the segment itself nor
    of another lesion. It is left out where less than half of it remains, as of a segment at
    the midline, and where the maps show no brain or no midsagittal plane.

    Args:
        result: with the segments of the study among its own.
    """
    drawn = [segment for segment in result.segments if segment.maker is not None]
    if not drawn:
        return result
    if len(drawn) > MOST_MIRRORED:
        return _without(result, f"there are {len(drawn)} of them, as in a parcellation")
    brains = [one for one in result.segments if one.maker is None and one.type == codes.SCT.Brain]
    if not brains:
        return _without(result, "the maps show no head")
    brain = brains[0].volume.array > 0
    geometry = result.maps[0].volume.get_geometry()
    plane = midsagittal_plane(result.maps[0].volume.array, brain, geometry)
    if plane is None:
        return _without(result, "no midsagittal plane was found in the maps")
    lesions = np.zeros(brain.shape, bool)
    for segment in drawn:
        if segment.category.value in _LESION:
            lesions |= segment.volume.array > 0
    added, pairs, beside = [], [], []
    for segment in drawn:
        region = segment.volume.array > 0
        across = plane.mirrored(region, geometry) & brain & ~region & ~lesions
        if across.sum() < LEAST_LEFT * region.sum():
            beside.append(segment)
            continue
        mirror = Segment(
            f"{segment.name}, mirrored",
            codes.SCT.SpatialAndRelationalConcept,
            MIRRORED,
            geometry.with_array(across.astype(np.uint8)),
        )
        added.append(mirror)
        pairs.append(SegmentPair(segment.name, mirror.name))
    findings = [
        Finding(
            "mirrored-segments",
            f"{len(added)} segments of the study are compared with their mirror image at the "
            "midsagittal plane, which is their counterpart to some millimetres only",
            Severity.INFORMATION,
        )
    ]
    if beside:
        findings.append(
            Finding(
                "segment-without-mirror",
                f"{len(beside)} segments of the study have no mirror image in the brain beside "
                "themselves and other lesions",
                Severity.INFORMATION,
            )
        )
    return replace(
        result,
        segments=(*result.segments, *added),
        pairs=(*result.pairs, *pairs),
        findings=(*result.findings, *(findings if added else findings[1:])),
    )


def _without(result: PipelineResult, because: str) -> PipelineResult:
    finding = Finding(
        "no-mirrored-segments",
        f"the segments of the study are not compared with the other side: {because}",
        Severity.INFORMATION,
    )
    return replace(result, findings=(*result.findings, finding))
