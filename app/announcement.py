"""How a run ended, said to whoever started it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from app.result_file import FILE_NAME, RefusalEntry, ResultFile, RunStatus

_LOG = logging.getLogger(__name__)
_COLOURS = {RunStatus.SUCCESS: "green", RunStatus.PARTIAL: "yellow", RunStatus.FAILED: "red"}


def announce(result: ResultFile, output: Path) -> None:
    """Name every refusal on standard error, and say at last where to look.

    Args:
        result: as published.
        output: folder in which it was published.
    """
    # A worker that was killed while it drew has left the cursor hidden.
    Console(stderr=True).show_cursor()
    for refusal in result.refusals:
        level = logging.ERROR if refusal.needed else logging.WARNING
        _LOG.log(level, _sentence(refusal), extra=refusal.model_dump())
    if result.inputs_skipped:
        # Counted only: names of files can be names of patients.
        _LOG.warning("%d files skipped; %s says why", len(result.inputs_skipped), FILE_NAME)
    if result.failure:
        _LOG.error(result.failure)
    logging.shutdown()
    line, *pictures = _last_lines(result, output)
    if sys.stdout.isatty():
        status = f"[bold {_COLOURS[result.status]}]{result.status}[/]"
        Console().print(f"{status}: {escape(line)}", highlight=False, soft_wrap=True)
    else:
        sys.stdout.write(f"{result.status}: {line}\n")
    sys.stdout.writelines(f"{picture}\n" for picture in pictures)


def _sentence(refusal: RefusalEntry) -> str:
    where = ""
    if refusal.series is not None:
        number = "?" if refusal.number is None else refusal.number
        where = f"series {number} ({refusal.series}) "
    return f"{where}refused: {refusal.reason} [{refusal.rule}]. {refusal.remedy}"


def _last_lines(result: ResultFile, output: Path) -> list[str]:
    """What came of the run, and then each picture to look at."""
    if result.status is RunStatus.FAILED:
        return [f"no results; {output / FILE_NAME} says why"]
    analysed = sum(pipeline.series_analysed for pipeline in result.pipelines)
    told = f"{analysed} series analysed, {len(result.outputs)} files in {output}"
    pictures = [
        f"Look at {output / written.path}"
        for written in result.outputs
        if written.kind == "summary picture"
    ]
    return [f"{told}; {output / FILE_NAME} tells the rest", *pictures]
