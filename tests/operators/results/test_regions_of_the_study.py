"""What the report, the Segmentation, the page and the table say of the study's drawings."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_tracks import tracked_result
from pydicom.dataset import Dataset

from operators.results import measurement_report as report_module
from operators.results import qualitative_texts
from operators.results.connectivity_table import write_connectivity_tables
from operators.results.identifiers import ResultIdentifiers
from operators.results.measurement_report import measurement_report
from operators.results.segmentation import segmentation
from operators.results.series_plan import ResultPlan
from operators.results.summary_page import _shown_measurements, summary_page

Planned = Callable[..., ResultPlan]


def meaning(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def groups(report: Dataset) -> dict[str, Dataset]:
    """Measurement groups by Tracking Identifier."""
    (container,) = [one for one in report.ContentSequence if meaning(one) == "Imaging Measurements"]
    found = {}
    for group in container.ContentSequence:
        (name,) = [
            o.TextValue for o in group.ContentSequence if meaning(o) == "Tracking Identifier"
        ]
        found[name] = group
    return found


def numbers(group: Dataset) -> dict[tuple[str, str], float]:
    """Values by name and derivation."""
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            how = [
                str(child.ConceptCodeSequence[0].CodeMeaning)
                for child in item.get("ContentSequence", [])
                if meaning(child) == "Derivation"
            ]
            value = item.MeasuredValueSequence[0].NumericValue
            found[meaning(item), how[0] if how else ""] = float(value)
    return found


def test_a_lesion_stands_beside_its_mirror_image(planned: Planned) -> None:
    plan = planned(tracked_result())
    found = groups(measurement_report(plan))
    lesion, mirror = numbers(found["Tumour"]), numbers(found["Tumour, mirrored"])
    ratio = "Ratio of mean to mean over reference region"
    for name in ("Mean Diffusivity", "Fractional Anisotropy"):
        assert lesion[name, ratio] == pytest.approx(lesion[name, "Mean"] / mirror[name, "Mean"])
        assert (name, ratio) not in mirror
    assert "The ratios of Tumour are to Tumour, mirrored" in sentences(measurement_report(plan))


def sentences(report: Dataset) -> list[str]:
    return [str(item.value) for item in report.iterall() if item.keyword == "TextValue"]


def test_connections_are_sentences_of_the_report(planned: Planned) -> None:
    said = sentences(measurement_report(planned(tracked_result())))
    found = [text for text in said if "tracks" in text]
    assert found == ["front - back, left: 2 tracks, mean length 60.2 mm, mean FA 0.500"]


def test_only_the_strongest_of_many_connections_are_reported(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qualitative_texts, "MOST_PAIRS", 0)
    found = sentences(measurement_report(planned(tracked_result())))
    assert not any("front - back" in text for text in found)
    assert any("0 strongest of 1 connections" in text for text in found)


def test_of_a_parcellation_mean_and_deviation_are_reported(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "MOST_IN_FULL", 0)
    found = groups(measurement_report(planned(tracked_result())))
    assert ("Mean Diffusivity", "Median") not in numbers(found["Tumour"])
    assert ("Mean Diffusivity", "Standard Deviation") in numbers(found["Tumour"])
    assert ("Mean Diffusivity", "Median") in numbers(found["Brain"])


def test_the_report_names_the_drawing_as_evidence(planned: Planned) -> None:
    plan = planned(tracked_result())
    evidence = measurement_report(plan).PertinentOtherEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID
        for study in evidence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert plan.result.region_sources[0].images[0].sop_instance_uid in named


def test_the_segmentation_says_who_drew(planned: Planned) -> None:
    described = {
        item.SegmentLabel: item for item in segmentation(planned(tracked_result())).SegmentSequence
    }
    tumour = described["Tumour"]
    assert tumour.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert tumour.SegmentAlgorithmName == "GrowFromSeeds"
    assert described["Brain"].SegmentAlgorithmName == "QuantMAP diffusion"


def test_the_page_names_no_drawing(planned: Planned) -> None:
    plan = planned(tracked_result())
    with_tracks = summary_page(plan)
    assert with_tracks.pdf.startswith(b"%PDF")
    assert len(with_tracks.pdf) < 3_000_000
    lines = [line for below in _shown_measurements(plan).values() for line in below]
    assert any("Brain" in line for line in lines)
    assert not any("Tumour" in line for line in lines)


def test_a_drawing_changes_the_uids(planned: Planned) -> None:
    result = tracked_result()
    other = replace(result, region_sources=())
    one, two = ResultIdentifiers(result), ResultIdentifiers(other)
    assert one.series("segmentation/") != two.series("segmentation/")


def test_the_table_has_every_pair_once(planned: Planned, tmp_path: Path) -> None:
    (entry,) = write_connectivity_tables(planned(tracked_result()), tmp_path)
    with (tmp_path / entry.path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = {(row["segment_a"], row["segment_b"]): row for row in rows}
    assert len(rows) == len(pairs) == 6
    connected = pairs["front", "back, left"]
    assert (connected["tracks"], connected["mean_length_mm"]) == ("2", "60.25")
    assert pairs["front", "alone"]["mean_fa"] == ""
    assert np.sum([int(row["tracks"]) for row in rows]) == 6
