"""Operator: each result into one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment

from operators.results.settings import ResultsSettings
from operators.results.summary import write_summary
from operators.results.writer_operator import ResultWriterOperator


class SummaryPageWriterOperator(ResultWriterOperator):
    """Writes the summary page of every result, as PNG and as Encapsulated PDF.

    Args:
        fragment: the application.
        folder: staging folder; the application publishes it when all is written.
        settings: ``summary`` switches it off.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        folder: Path,
        settings: ResultsSettings,
        **kwargs: Any,
    ) -> None:
        writers = [write_summary] if settings.summary else []
        super().__init__(fragment, *args, folder=folder, writers=writers, **kwargs)
