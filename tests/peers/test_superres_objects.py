"""Other people's validators and readers on synthetic images and tissue fractions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from operators.inference.tissue_fractions import BRAIN_PARENCHYMAL_FRACTION, PARTIAL_VOLUME
from operators.results.settings import ResultsSettings
from operators.results.write_results import write_results
from operators.vocabulary.quantity import QUANTITIES, QuantityMap
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import WrittenObject
from operators.vocabulary.synthetic_image import SyntheticImage
from operators.vocabulary.tissue import MILLILITRE, RegionValue, TissueFraction, TissueValue
from tests.operators.results.made_results import asymmetric_object, made_result
from tests.peers.test_written_objects import (
    BUILDS,
    XPATH_LIMITS,
    errors,
    messages,
    values_at,
    written_source,
)

Tool = Callable[[str], str]
DCMQI = Path(sys.executable).parent


def finer_result(folder: Path, orientation: str, number: int) -> PipelineResult:
    """A result of which source maps are coarser in plane, with everything of superres."""
    made = made_result(orientation, names=("t1", "map_consistency"), pipeline="superres")
    source = written_source(folder, orientation, number)
    geometry = made.maps[0].volume.get_geometry()
    shape = geometry.spatial_shape
    values = asymmetric_object(shape)
    coarse = made.maps[0].volume[:, ::2, ::2]
    share = np.clip(values, 0, 1).astype(np.float32)
    return replace(
        made,
        source=source,
        synthetic_images=(
            SyntheticImage(
                "flair", "T2-FLAIR", "FLAIR", "FLAIR", ("SE", "IR"), 9000, 100, 2500, None,
                geometry.with_array(values),
            ),
            SyntheticImage(
                "t1w", "T1w", "T1W", "SPGR", ("GR",), 15, 3, None, 25.0,
                geometry.with_array(0.05 * values),
            ),
        ),
        fractions=tuple(
            TissueFraction(
                name, codes.SCT.AnatomicalStructure, code, geometry.with_array(array)
            )
            for name, code, array in (
                ("White matter", codes.SCT.CerebralWhiteMatter, share),
                ("Cerebrospinal fluid", codes.SCT.CerebrospinalFluid, 1 - share),
            )
        ),
        region_values=(
            RegionValue("Brain", PARTIAL_VOLUME, 1200.0, MILLILITRE),
            RegionValue("Brain", BRAIN_PARENCHYMAL_FRACTION, 85.0, codes.UCUM.Percent),
        ),
        tissue_values=(TissueValue("White matter", "t1", 830.0, 600.0, 1100.0),),
        measured_maps=(QuantityMap(QUANTITIES["t1"], coarse),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, PipelineResult, list[WrittenObject]]:
    folder = tmp_path_factory.mktemp("superres")
    result = finer_result(folder, "oblique", 1)
    created = datetime(2026, 1, 2, 3, 4, 5)
    return folder, result, write_results([result], folder, ResultsSettings(), created)


def test_every_object_has_no_error(
    written: tuple[Path, PipelineResult, list[WrittenObject]], tool: Tool
) -> None:
    folder, _, entries = written
    chosen = {
        (entry.kind, entry.path.parent.name): folder / entry.path
        for entry in entries
        if entry.sop_class_uid
    }
    assert {"synthetic image", "tissue fractions"} <= {kind for kind, _ in chosen}
    found = {
        (build, key): errors(build, path, tool) for build in BUILDS for key, path in chosen.items()
    }
    assert {key: lines for key, lines in found.items() if lines} == {}


def test_the_report_follows_its_template(
    written: tuple[Path, PipelineResult, list[WrittenObject]], tool: Tool
) -> None:
    folder, _, entries = written
    (entry,) = [one for one in entries if one.kind == "measurement report"]
    lines = messages(
        [tool("DicomSRValidator"), str(folder / entry.path)], JAVA_TOOL_OPTIONS=XPATH_LIMITS
    )
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines
    assert [line for line in lines if line.startswith(("Error", "Warning"))] == []


def test_the_report_holds_the_parenchymal_fraction(
    written: tuple[Path, PipelineResult, list[WrittenObject]], tool: Tool, tmp_path: Path
) -> None:
    folder, _, entries = written
    (entry,) = [one for one in entries if one.kind == "measurement report"]
    reader = tool(str(DCMQI / "tid1500reader"))
    output = tmp_path / "report.json"
    command = [reader, "--inputDICOM", str(folder / entry.path), "--outputMetadata", str(output)]
    subprocess.run(command, check=True, capture_output=True)
    items = {
        (group["TrackingIdentifier"], item["quantity"]["CodeValue"]): (
            float(item["value"]), item["units"]["CodeValue"],
        )
        for group in json.loads(output.read_text())["Measurements"]
        for item in group["measurementItems"]
    }  # fmt: skip
    assert items["Brain", "BPF"] == (85.0, "%")
    assert items["Brain", "PVVOLUME"] == (1200.0, "ml")


def test_dcm2niix_reads_a_synthetic_image_in_its_place(
    written: tuple[Path, PipelineResult, list[WrittenObject]], tool: Tool, tmp_path: Path
) -> None:
    folder, result, entries = written
    paths = [
        one.path for one in entries if one.kind == "synthetic image" and "flair" in one.path.parts
    ]
    command = [tool("dcm2niix"), "-f", "image", "-o", str(tmp_path), str(folder / paths[0].parent)]
    subprocess.run(command, check=True, capture_output=True)
    (ours,) = [one.volume for one in result.synthetic_images if one.name == "flair"]
    theirs = values_at(tmp_path / "image.nii", ours)
    step = np.median(ours.array[theirs > 0] / theirs[theirs > 0])
    np.testing.assert_allclose(theirs * step, ours.array, atol=step)
    stated = json.loads((tmp_path / "image.json").read_text())
    assert stated["InversionTime"] == 2.5
    assert "DERIVED" in stated["ImageType"]


def test_highdicom_reads_the_fractions_back(
    written: tuple[Path, PipelineResult, list[WrittenObject]],
) -> None:
    import highdicom as hd

    folder, result, entries = written
    (entry,) = [one for one in entries if one.kind == "tissue fractions"]
    read = hd.seg.segread(folder / entry.path)
    assert read.SegmentationType == "FRACTIONAL"
    assert read.SegmentationFractionalType == "OCCUPANCY"
    for number, one in enumerate(result.fractions, start=1):
        volume = read.get_volume(segment_numbers=[number], combine_segments=False)
        matched = volume.match_geometry(one.volume) if hasattr(volume, "match_geometry") else volume
        found = np.asarray(matched.array, float)[..., 0]
        np.testing.assert_allclose(found, one.volume.array, atol=0.5 / 255 + 1e-6)
