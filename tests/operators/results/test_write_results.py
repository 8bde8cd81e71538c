from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom as hd
import pytest
from made_results import made_result
from pydantic import ValidationError
from pydicom import config, dcmread

from operators.results.settings import ResultsSettings
from operators.results.write_results import write_results

SETTINGS = ResultsSettings()
OBJECTS = ResultsSettings(summary=False)  # the page is slow to draw and has tests of its own


def results() -> list:
    return [
        made_result("oblique", names=("fractional_anisotropy",)),
        made_result("single", pipeline="cest_mt", names=("t1", "mt_fraction")),
    ]


def test_every_file_is_listed_and_every_entry_is_true(tmp_path: Path, created: datetime) -> None:
    written = write_results(results(), tmp_path, SETTINGS, created)
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert {entry.path for entry in written} == files
    for entry in written:
        if entry.sop_instance_uid:
            dataset = dcmread(tmp_path / entry.path, stop_before_pixels=True)
            assert dataset.SOPClassUID == entry.sop_class_uid
            assert dataset.SOPInstanceUID == entry.sop_instance_uid
            assert dataset.SeriesInstanceUID == entry.series_instance_uid
    uids = [entry.sop_instance_uid for entry in written if entry.sop_instance_uid]
    assert len(set(uids)) == len(uids)


def test_a_rerun_gives_the_same_bytes(tmp_path: Path, created: datetime) -> None:
    first, second = (
        write_results(results(), tmp_path / name, OBJECTS, created) for name in ("a", "b")
    )
    assert first == second
    for entry in first:
        one, other = ((tmp_path / name / entry.path).read_bytes() for name in ("a", "b"))
        assert one == other, entry.path


def test_another_time_changes_no_uid(tmp_path: Path, created: datetime) -> None:
    later = datetime(2027, 1, 1)
    assert write_results(results(), tmp_path / "a", OBJECTS, created) == write_results(
        results(), tmp_path / "b", OBJECTS, later
    )


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("parametric_maps", {"parametric map"}),
        ("viewer_images", {"viewer image", "colour viewer image"}),
        ("colour_maps", {"colour map"}),
        ("segmentation", {"segmentation"}),
        ("summary", {"summary page", "summary picture"}),
    ],
)
def test_each_kind_can_be_written_alone(name: str, kinds: set[str], tmp_path: Path) -> None:
    off = dict.fromkeys(ResultsSettings.model_fields, False)
    settings = ResultsSettings(**{**off, name: True})
    written = write_results(results()[:1], tmp_path, settings)
    assert {entry.kind for entry in written} == kinds


def test_a_report_without_its_segmentation_is_refused() -> None:
    with pytest.raises(ValidationError, match="segmentation"):
        ResultsSettings(segmentation=False)
    assert not ResultsSettings(segmentation=False, measurement_report=False).segmentation


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        ResultsSettings(viewer=True)


def test_nothing_to_write_writes_nothing(tmp_path: Path) -> None:
    assert write_results([], tmp_path, SETTINGS) == []
    assert not list(tmp_path.iterdir())


def test_neither_names_nor_uids_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level("DEBUG")
    (result,) = results()[:1]
    result.source.header.PatientName = "oddname"
    write_results([result], tmp_path, OBJECTS)
    said = caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert "oddname" not in said
    assert result.source.header.StudyInstanceUID not in said
    read = dcmread(next(tmp_path.rglob("segmentation.dcm")))
    assert read.PatientName == "oddname"


def test_names_beyond_ascii_survive(tmp_path: Path) -> None:
    for entry in write_results(results()[:1], tmp_path, OBJECTS):
        dataset = dcmread(tmp_path / entry.path, stop_before_pixels=True)
        assert str(dataset.PatientName) == "Grün^Anna"


def test_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    (result,) = results()[:1]
    before = deepcopy(result.source.header)
    write_results([result], tmp_path, OBJECTS)
    assert result.source.header == before


def test_long_texts_fit_their_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = results()[:1]
    long = "a long \\ text of many words " * 60
    algorithm = replace(
        result.algorithm,
        name=long,
        version=long,
        source=long,
        execution_provider=long,
        configuration={"fit": long},
        model_sha256={long: "5d" * 32},
    )
    segments = tuple(replace(segment, name=f"{segment.name} {long}") for segment in result.segments)
    written = write_results(
        [replace(result, algorithm=algorithm, segments=segments)], tmp_path, OBJECTS
    )
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.RAISE)
    for entry in written:
        dataset = dcmread(tmp_path / entry.path)
        assert sum(1 for _ in dataset.iterall()) > 50  # every element decodes and is valid


def test_a_source_without_frame_of_reference_is_written(tmp_path: Path) -> None:
    (result,) = results()[:1]
    del result.source.header.FrameOfReferenceUID

    def bare(volume: hd.Volume) -> hd.Volume:
        return hd.Volume(volume.array, volume.affine, "PATIENT")

    result = replace(
        result,
        maps=tuple(replace(m, volume=bare(m.volume)) for m in result.maps),
        segments=tuple(replace(s, volume=bare(s.volume)) for s in result.segments),
        colour_maps=(),
    )
    written = write_results([result], tmp_path, OBJECTS)
    frames = {
        dcmread(tmp_path / e.path, stop_before_pixels=True).get("FrameOfReferenceUID")
        for e in written
        if e.kind != "measurement report"
    }
    assert len(frames) == 1
    assert None not in frames
