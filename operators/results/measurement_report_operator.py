"""Operator: statistics into a TID 1500 report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment

from operators.results.measurement_report import write_measurement_report
from operators.results.settings import ResultsSettings
from operators.results.writer_operator import ResultWriterOperator


class MeasurementReportWriterOperator(ResultWriterOperator):
    """Writes the report of every result; it refers to the Segmentation by UIDs that both derive.

    Args:
        fragment: the application.
        folder: staging folder; the application publishes it when all is written.
        settings: ``measurement_report`` switches it off.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        folder: Path,
        settings: ResultsSettings,
        **kwargs: Any,
    ) -> None:
        writers = [write_measurement_report] if settings.measurement_report else []
        super().__init__(fragment, *args, folder=folder, writers=writers, **kwargs)
