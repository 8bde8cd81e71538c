"""A small result with tracks, a lesion beside its mirror image, and connectivity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from operators.vocabulary.acquisition import SourceImage, SourceSeries
from operators.vocabulary.result import PipelineResult, Segment, SegmentPair
from operators.vocabulary.study_segmentation import SegmentMaker
from operators.vocabulary.tracts import Connectivity, TrackSet
from tests.operators.results.made_results import made_header, made_result

MIRRORED = Code("MIRRORED", "99QUANTMAP", "Region mirrored at the midsagittal plane")


def made_tracks(result: PipelineResult) -> TrackSet:
    """Three tracks that differ in number of points; the first runs to the patient's left."""
    geometry = result.maps[0].volume.get_geometry()
    centre = geometry.map_indices_to_reference(np.array([[3, 6, 5]]))[0]
    along = np.array([[1.0, 0.2, 0.1], [-0.1, -1.0, 0.3], [0.2, 0.1, 1.0]])
    parts = [
        centre + direction * np.arange(count)[:, None] * 0.5
        for direction, count in zip(along, (9, 5, 7), strict=True)
    ]
    offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts])))
    points = np.concatenate(parts).astype(np.float32)
    return TrackSet(
        label="Whole field",
        site=codes.SCT.WhiteMatterOfBrainAndSpinalCord,
        points=points,
        offsets=offsets,
        anisotropy=np.linspace(0.2, 0.8, len(points)).astype(np.float32),
        geometry=geometry,
        model=Code("113231", "DCM", "Single Tensor"),
        family=Code("113211", "DCM", "Deterministic"),
        parameters={"step": "1"},
    )


def tracked_result(orientation: str = "oblique") -> PipelineResult:
    """The result of `made_result` with all that tracks and the study's drawings add."""
    result = made_result(orientation)
    geometry = result.maps[0].volume.get_geometry()
    lesion, mirror = (np.zeros(geometry.spatial_shape, np.uint8) for _ in range(2))
    lesion[2, 9:11, 1:4] = 1
    mirror[2, 9:11, 6:9] = 1
    header = made_header(geometry, 92)
    header.SOPClassUID = SegmentationStorage
    header.Modality = "SEG"
    drawing = SourceSeries(
        header,
        (SourceImage(None, SegmentationStorage, header.SOPInstanceUID),),  # type: ignore[arg-type]
    )
    missing = np.nan
    return replace(
        result,
        tracks=made_tracks(result),
        segments=(
            *result.segments,
            Segment(
                "Tumour",
                codes.SCT.MorphologicallyAbnormalStructure,
                codes.SCT.Neoplasm,
                geometry.with_array(lesion),
                SegmentMaker("SEMIAUTOMATIC", "GrowFromSeeds"),
            ),
            Segment(
                "Tumour, mirrored",
                codes.SCT.SpatialAndRelationalConcept,
                MIRRORED,
                geometry.with_array(mirror),
            ),
        ),
        pairs=(SegmentPair("Tumour", "Tumour, mirrored"),),
        connectivity=(
            Connectivity(
                segments=("front", "back, left", "alone"),
                tracks=np.array([[4, 2, 0], [2, 0, 0], [0, 0, 0]]),
                length=np.array([[30.5, 60.25, missing], [60.25, missing, missing], [missing] * 3]),
                anisotropy=np.array([[0.4, 0.5, missing], [0.5, missing, missing], [missing] * 3]),
                radius=4.0,
                source=drawing,
            ),
        ),
        region_sources=(drawing,),
    )
