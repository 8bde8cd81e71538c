"""What counts as success: something analysed, and nothing refused that a pipeline needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from app.config import Settings
from app.job import Job
from app.pipelines import PIPELINES
from app.result_file import ResultFile, RunStatus
from app.run_report import report
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.finding import Finding
from operators.vocabulary.refusal import Refusal, hashed_uid
from operators.vocabulary.result import Algorithm
from operators.vocabulary.run import (
    AcquiredStudy,
    PipelineOutcome,
    SeriesSummary,
    SkippedFile,
    WrittenObject,
)


def series(number: int, kind: SeriesKind) -> SeriesSummary:
    return SeriesSummary(f"1.2.{number}", number, kind, "a tag says so", images=3)


def refusal(number: int) -> Refusal:
    return Refusal("a-rule", "why", "do this").of_series(f"1.2.{number}", number)


def result_of(pipeline: str, number: int) -> SimpleNamespace:
    return SimpleNamespace(
        pipeline=pipeline,
        source=SimpleNamespace(series_instance_uid=f"1.2.{number}", series_number=number),
        further_sources=(),
        region_sources=(),
        findings=(Finding("a-finding", "look"),),
        timings={"fit": 0.5},
        algorithm=Algorithm("QuantMAP", "1", {"model.onnx": "ab"}, "CPUExecutionProvider", {}, ""),
    )


def reported(
    rows: list[SeriesSummary],
    outcomes: list[PipelineOutcome],
    refused: tuple[int, ...] = (),
    pipelines: tuple[str, ...] = tuple(PIPELINES),
    written: tuple[WrittenObject, ...] = (),
) -> ResultFile:
    job = Job(
        input=Path("in"),
        objects=Path("objects"),
        result=Path("result.json"),
        models=Path("models"),
        workdir=Path("work"),
        pipelines=pipelines,
        settings=Settings(),
        started="2026-01-01T00:00:00Z",
    )
    study = AcquiredStudy(
        (), tuple(map(refusal, refused)), tuple(rows), (SkippedFile(Path("a/b.txt"), "no DICOM"),)
    )
    return report(job, study, outcomes, written, {"load": 1.0})


DIFFUSION = series(1, SeriesKind.DIFFUSION)
MAP = series(2, SeriesKind.QUANTITY_MAP)
SATURATION = series(3, SeriesKind.SATURATION)
LOCALIZER = series(4, SeriesKind.UNRECOGNISED)
RAN = PipelineOutcome("diffusion", results=(result_of("diffusion", 1),))
IDLE = PipelineOutcome("cest_mt", idle_because="the study holds no saturation series")


@pytest.mark.parametrize(
    ("rows", "refused", "status", "exit_status"),
    [
        ([DIFFUSION, LOCALIZER], (), RunStatus.SUCCESS, 0),
        ([DIFFUSION, LOCALIZER], (4,), RunStatus.SUCCESS, 0),
        ([DIFFUSION, MAP], (2,), RunStatus.SUCCESS, 0),
        ([DIFFUSION, MAP, SATURATION], (2,), RunStatus.PARTIAL, 3),
        ([DIFFUSION, SATURATION], (3,), RunStatus.PARTIAL, 3),
    ],
    ids=[
        "all used",
        "a localizer refused",
        "a T1 map refused that nothing uses",
        "a T1 map refused beside a fingerprint",
        "a fingerprint refused",
    ],
)
def test_only_refusals_of_needed_series_spoil_success(rows, refused, status, exit_status):
    result = reported(rows, [RAN, IDLE], refused)
    assert (result.status, result.exit_status) == (status, exit_status)
    assert [entry.number for entry in result.refusals] == list(refused)


def test_series_of_a_pipeline_that_was_not_asked_for_are_not_needed():
    result = reported([DIFFUSION, SATURATION], [RAN], (3,), pipelines=("diffusion",))
    assert result.status is RunStatus.SUCCESS
    assert {entry.name: entry.state for entry in result.pipelines}["cest_mt"] == "not selected"


def test_a_refusal_by_a_pipeline_is_needed():
    both = PipelineOutcome("diffusion", RAN.results, refusals=(refusal(5),))
    assert reported([DIFFUSION], [both, IDLE]).status is RunStatus.PARTIAL


def test_nothing_analysed_is_a_failure_with_the_reason_of_every_pipeline():
    refused = PipelineOutcome("diffusion", refusals=(refusal(1),))
    result = reported([DIFFUSION], [refused, IDLE])
    assert (result.status, result.exit_status) == (RunStatus.FAILED, 3)
    assert "no saturation series" in result.failure
    assert "diffusion" in result.failure


def test_uids_are_hashed_and_everything_is_listed():
    written = WrittenObject(Path("d/b.dcm"), "parametric map", "1", "2", "3", "t1")
    result = reported([DIFFUSION, LOCALIZER], [RAN, IDLE], written=(written,))
    text = result.to_json()
    assert "1.2.1" not in text
    assert hashed_uid("1.2.1") in text
    assert [entry.number for entry in result.inputs_used] == [1]
    assert [entry.number for entry in result.inputs_not_used] == [4]
    assert result.inputs_skipped[0].path == "a/b.txt"
    assert result.outputs[0].path == "d/b.dcm"
    assert result.findings[0].code == "a-finding"
    assert result.timings == {"load": 1.0, "diffusion.fit": 0.5}
    (diffusion,) = [entry for entry in result.pipelines if entry.name == "diffusion"]
    assert diffusion.models == {"model.onnx": "ab"}
    assert ResultFile.model_validate_json(text) == result
