"""``python -m app inspect STUDY``: what each series is, and which pipelines could run."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.order import check_input, settings_of
from app.pipelines import PIPELINES, Pipeline
from app.result_file import ExitStatus
from app.run_report import needed_kinds
from operators.ingest.acquire import acquire
from operators.vocabulary.acquisition import SeriesKind
from operators.vocabulary.refusal import Refusal, hashed_uid
from operators.vocabulary.run import AcquiredStudy, SeriesSummary

_COLOURS = {
    SeriesKind.DIFFUSION: "cyan",
    SeriesKind.SATURATION: "magenta",
    SeriesKind.QUANTITY_MAP: "green",
    SeriesKind.WEIGHTED_IMAGE: "blue",
    SeriesKind.SEGMENTATION: "yellow",
    SeriesKind.UNRECOGNISED: "bright_black",
}


def inspect(options: argparse.Namespace) -> int:
    """Print what the study holds: tables on a terminal, tabulated text otherwise.

    Args:
        options: input, config, overrides.

    Returns:
        Exit status.

    Raises:
        UsageError: there is no such folder, or the configuration is wrong.
    """
    settings = settings_of(options)
    check_input(options.input)
    study = acquire(options.input, settings.ingest)
    # A reader of the output that has seen enough ends this process quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if sys.stdout.isatty():
        _show(study, Console())
    else:
        sys.stdout.writelines(line.rstrip() + "\n" for line in plain_lines(study))
    return ExitStatus.SUCCESS


def plain_lines(study: AcquiredStudy) -> Iterable[str]:
    """The study as lines of text, one series, refusal or file a line, fields apart by tabs."""
    yield "SERIES\tuid hash\tkind\timages\tbecause"
    for series in study.series:
        yield "\t".join(_cells(series))
        for line in series.protocol:
            yield f"\t{line}"
    yield "PIPELINES\tcould run\twhy"
    for pipeline in PIPELINES.values():
        could, why = could_run(pipeline, study)
        yield f"{pipeline.name}\t{'yes' if could else 'no'}\t{why}"
    if study.refusals:
        yield "REFUSED"
        yield from map(str, study.refusals)
    if study.skipped:
        yield "SKIPPED FILES"
        yield from (f"{file.path}\t{file.reason}" for file in study.skipped)


def could_run(pipeline: Pipeline, study: AcquiredStudy) -> tuple[bool, str]:
    """Whether ``pipeline`` has something to analyse in ``study``, and what or why not."""
    ready = [found for found in study.acquisitions if found.kind is pipeline.takes]
    lacking = pipeline.idle_because(study) if pipeline.idle_because else ""
    if ready and not lacking:
        numbers = ", ".join(_number(found.source.series_number) for found in ready)
        return True, f"{pipeline.title} of series {numbers}"
    refused = [
        _number(refusal.series_number)
        for refusal in study.refusals
        if _kind(refusal, study) in needed_kinds([pipeline.name], study)
    ]
    if refused:
        return False, f"series {', '.join(refused)} refused, see below"
    return False, lacking or f"the study holds no {pipeline.takes.value} series"


def _show(study: AcquiredStudy, console: Console) -> None:
    table = Table("Series", "UID hash", "Recognised as", "Images", "Because", title="Series")
    table.columns[3].justify = "right"
    table.columns[4].overflow = "fold"
    for series in study.series:
        cells: list[RenderableType] = [Text(cell) for cell in _cells(series)]
        cells[2] = Text(series.kind.value, style=_COLOURS[series.kind])
        table.add_row(*cells)
    console.print(table)
    for series in study.series:
        if series.protocol:
            heading = f"Series {_number(series.series_number)}, {series.kind.value}"
            console.print(Text(heading, style=f"bold {_COLOURS[series.kind]}"))
            console.print(Padding(Text("\n".join(series.protocol)), (0, 0, 1, 2)))
    pipelines = Table("Pipeline", "Could run", "Why", title="Pipelines")
    for pipeline in PIPELINES.values():
        could, why = could_run(pipeline, study)
        mark = Text("yes", style="green") if could else Text("no", style="yellow")
        pipelines.add_row(pipeline.name, mark, why)
    console.print(pipelines)
    if study.refusals:
        console.print(Text("Refused", style="bold red"))
        for refusal in study.refusals:
            console.print(Padding(Text(str(refusal)), (0, 0, 0, 2)))
    if study.skipped:
        files = Table("Skipped file", "Reason")
        for file in study.skipped:
            files.add_row(Text(str(file.path)), Text(file.reason))
        console.print(files)


def _cells(series: SeriesSummary) -> tuple[str, str, str, str, str]:
    return (
        _number(series.series_number),
        hashed_uid(series.series_instance_uid),
        series.kind.value,
        str(series.images),
        series.because,
    )


def _number(number: int | None) -> str:
    return "?" if number is None else str(number)


def _kind(refusal: Refusal, study: AcquiredStudy) -> SeriesKind | None:
    return next(
        (
            series.kind
            for series in study.series
            if series.series_instance_uid == refusal.series_instance_uid
        ),
        None,
    )
