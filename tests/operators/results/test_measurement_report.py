from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from made_results import made_result
from pydicom.sr.codedict import codes

from operators.results.measurement_report import measurement_report, write_measurement_report
from operators.results.segmentation import segmentation
from operators.results.series_plan import ResultPlan
from operators.vocabulary.quantity import QUANTITIES

Planned = Callable[..., ResultPlan]

STATISTICS = {
    codes.SCT.Mean.value: np.mean,
    codes.SCT.StandardDeviation.value: lambda values: np.std(values, ddof=1),
    codes.SCT.Median.value: np.median,
    "371888009": lambda values: np.percentile(values, 5),
    "371889001": lambda values: np.percentile(values, 95),
}


def test_every_statistic_of_every_map_and_segment_reads_back(
    planned: Planned, tmp_path: Path
) -> None:
    plan = planned()
    (entry,) = write_measurement_report(plan, tmp_path)
    report = hd.sr.srread(tmp_path / entry.path).content
    groups = report.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["Brain", "White matter"]
    for group, segment in zip(groups, plan.result.segments, strict=True):
        (volume,) = group.get_measurements(codes.SCT.Volume)
        voxels = int(segment.volume.array.sum())
        assert volume.value == pytest.approx(voxels * 9.0)  # 3 x 1.5 x 2 mm
        for quantity_map in plan.result.maps:
            values = quantity_map.volume.array[segment.volume.array > 0].astype(float)
            found = group.get_measurements(quantity_map.quantity.code)
            derivations = [item.derivation.value for item in found]
            assert sorted(derivations) == sorted(STATISTICS)
            for derivation, item in zip(derivations, found, strict=True):
                assert item.value == pytest.approx(STATISTICS[derivation](values), rel=1e-9)
                assert item.unit.value == QUANTITIES[quantity_map.quantity.name].unit.value


def test_groups_refer_to_the_segments_of_the_segmentation(planned: Planned, tmp_path: Path) -> None:
    plan = planned()
    regions = segmentation(plan)
    (entry,) = write_measurement_report(plan, tmp_path)
    report = hd.sr.srread(tmp_path / entry.path).content
    groups = report.get_volumetric_roi_measurement_groups()
    for number, group in enumerate(groups, start=1):
        assert group.reference_type == codes.DCM.ReferencedSegment
        (reference,) = group.referenced_segment[0].ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == regions.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
        assert group.tracking_uid == regions.SegmentSequence[number - 1].TrackingUID


def test_sources_and_segmentation_are_evidence(planned: Planned) -> None:
    plan = planned()
    report = measurement_report(plan)
    named = {uid for _, _, uid, _ in report.get_evidence()}
    assert {i.sop_instance_uid for i in plan.result.source.images} <= named
    assert segmentation(plan).SOPInstanceUID in named


def test_quality_findings_stand_in_the_report(planned: Planned) -> None:
    report = measurement_report(planned())
    text = {e.value for e in report.iterall() if e.keyword == "TextValue"}
    assert "Warning: Only 6 directions: FA is noisy." in text
    assert "Information: 1 image with b = 0 s/mm²." in text


def test_nothing_is_written_without_segments(planned: Planned, tmp_path: Path) -> None:
    plan = planned(replace(made_result(), segments=()))
    assert write_measurement_report(plan, tmp_path) == []
    with pytest.raises(ValueError, match="nothing to report"):
        measurement_report(plan)
