"""Turns what happened in the graph into the result file of the run."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from app.job import Job, now
from app.pipelines import PIPELINES
from app.result_file import (
    ExitStatus,
    FindingEntry,
    FindingText,
    OutputEntry,
    PipelineEntry,
    PipelineState,
    RefusalEntry,
    ResultFile,
    RunStatus,
    SeriesEntry,
    SkippedEntry,
)
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.refusal import Refusal, hashed_uid
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import (
    AcquiredStudy,
    PipelineOutcome,
    SeriesSummary,
    WrittenObject,
)

# The packages of which a change could change a value or an object.
_PACKAGES = (
    "dipy",
    "highdicom",
    "holoscan-cu13",
    "matplotlib",
    "monai",
    "monai-deploy-app-sdk",
    "numpy",
    "onnxruntime-gpu",
    "pydicom",
    "scipy",
    "torch",
)


def report(
    job: Job,
    study: AcquiredStudy,
    outcomes: Iterable[PipelineOutcome],
    written: Iterable[WrittenObject],
    seconds: Mapping[str, float],
) -> ResultFile:
    """The result of a run that reached its end.

    Args:
        job: what was ordered.
        study: what was found in the input.
        outcomes: what each pipeline did.
        written: the objects, paths relative to ``job.objects``.
        seconds: time of each operator.
    """
    outcomes = tuple(outcomes)
    results = [result for outcome in outcomes for result in outcome.results]
    refusals = _refusals(job, study, outcomes)
    if not results:
        status, exit_status = RunStatus.FAILED, ExitStatus.REFUSED
    elif any(refusal.needed for refusal in refusals):
        status, exit_status = RunStatus.PARTIAL, ExitStatus.REFUSED
    else:
        status, exit_status = RunStatus.SUCCESS, ExitStatus.SUCCESS
    used = _used_series(results)
    return ResultFile(
        status=status,
        exit_status=exit_status,
        failure="" if results else _why_nothing(study, outcomes),
        started=job.started,
        finished=now(),
        pipelines=tuple(_pipeline_entry(name, outcomes) for name in PIPELINES),
        inputs_used=tuple(
            series_entry(series) for series in study.series if series.series_instance_uid in used
        ),
        inputs_not_used=tuple(
            series_entry(series)
            for series in study.series
            if series.series_instance_uid not in used
        ),
        inputs_skipped=tuple(
            SkippedEntry(path=file.path.as_posix(), reason=file.reason) for file in study.skipped
        ),
        refusals=refusals,
        outputs=tuple(sorted(map(_output_entry, written), key=lambda output: output.path)),
        findings=tuple(finding for result in results for finding in _findings(result)),
        timings=_timings(results, seconds),
        versions=versions(),
        configuration=job.settings.model_dump(mode="json", exclude={"node"}),
    )


def failure(
    job: Job, exit_status: int, reason: str, refusals: Iterable[Refusal] = ()
) -> ResultFile:
    """The result of a run that did not reach its end."""
    return ResultFile(
        status=RunStatus.FAILED,
        exit_status=exit_status,
        failure=reason,
        started=job.started,
        finished=now(),
        refusals=tuple(refusal_entry(refusal, needed=True) for refusal in refusals),
        versions=versions(),
        configuration=job.settings.model_dump(mode="json", exclude={"node"}),
    )


def needed_kinds(names: Iterable[str], study: AcquiredStudy) -> set[SeriesKind]:
    """The kinds of series that matter to the pipelines ``names`` in this study."""
    names = tuple(names)
    present = {series.kind for series in study.series}
    return {kind for kind in present for name in names if PIPELINES[name].needs(kind, study)}


def series_entry(series: SeriesSummary) -> SeriesEntry:
    """A row of the study, its UID hashed."""
    return SeriesEntry(
        series=hashed_uid(series.series_instance_uid),
        number=series.series_number,
        kind=series.kind.value,
        images=series.images,
        because=series.because,
    )


def refusal_entry(refusal: Refusal, *, needed: bool) -> RefusalEntry:
    """A refusal, its UID hashed."""
    uid = refusal.series_instance_uid
    return RefusalEntry(
        rule=refusal.rule,
        reason=refusal.reason,
        remedy=refusal.remedy,
        series=None if uid is None else hashed_uid(uid),
        number=refusal.series_number,
        needed=needed,
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that values and objects depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _refusals(
    job: Job, study: AcquiredStudy, outcomes: Iterable[PipelineOutcome]
) -> tuple[RefusalEntry, ...]:
    kinds = {series.series_instance_uid: series.kind for series in study.series}
    needed = needed_kinds(job.pipelines, study)
    from_ingest = [
        refusal_entry(refusal, needed=kinds.get(refusal.series_instance_uid or "") in needed)
        for refusal in study.refusals
    ]
    from_pipelines = [
        refusal_entry(refusal, needed=True) for outcome in outcomes for refusal in outcome.refusals
    ]
    return (*from_ingest, *from_pipelines)


def _used_series(results: Iterable[PipelineResult]) -> set[str]:
    return {
        series.series_instance_uid
        for result in results
        for series in (result.source, *result.further_sources, *result.region_sources)
    }


def _why_nothing(study: AcquiredStudy, outcomes: Iterable[PipelineOutcome]) -> str:
    if not study.series:
        return "the input holds no MR image"
    reasons = [
        f"{outcome.pipeline}: {outcome.idle_because or 'its series were refused'}"
        for outcome in outcomes
    ]
    refused = f" ({len(study.refusals)} series refused)" if study.refusals else ""
    return f"nothing could be analysed{refused}; " + "; ".join(reasons)


def _pipeline_entry(name: str, outcomes: Iterable[PipelineOutcome]) -> PipelineEntry:
    outcome = next((outcome for outcome in outcomes if outcome.pipeline == name), None)
    if outcome is None:
        return PipelineEntry(
            name=name, state=PipelineState.NOT_SELECTED, because="not selected for this run"
        )
    if not outcome.results:
        state = PipelineState.REFUSED if outcome.refusals else PipelineState.IDLE
        because = outcome.idle_because or "every series for it was refused"
        return PipelineEntry(name=name, state=state, because=because)
    algorithms = [result.algorithm for result in outcome.results]
    return PipelineEntry(
        name=name,
        state=PipelineState.RAN,
        series_analysed=len(outcome.results),
        execution_provider=algorithms[0].execution_provider,
        models={file: digest for made in algorithms for file, digest in made.model_sha256.items()},
    )


def _output_entry(written: WrittenObject) -> OutputEntry:
    return OutputEntry(
        path=written.path.as_posix(),
        kind=written.kind,
        quantity=written.quantity,
        sop_class_uid=written.sop_class_uid,
        sop_instance_uid=written.sop_instance_uid,
        series_instance_uid=written.series_instance_uid,
        findings=tuple(
            FindingText(code=found.code, severity=found.severity.value, message=found.message)
            for found in written.findings
        ),
    )


def _findings(result: PipelineResult) -> Iterable[FindingEntry]:
    for finding in result.findings:
        yield FindingEntry(
            pipeline=result.pipeline,
            series=hashed_uid(result.source.series_instance_uid),
            number=result.source.series_number,
            code=finding.code,
            severity=finding.severity.value,
            message=finding.message,
        )


def _timings(results: Iterable[PipelineResult], seconds: Mapping[str, float]) -> dict[str, float]:
    timings = dict(seconds)
    for result in results:
        for step, duration in result.timings.items():
            name = f"{result.pipeline}.{step}"
            timings[name] = timings.get(name, 0.0) + duration
    return {name: round(duration, 4) for name, duration in timings.items()}
