"""Operator: tracts into Tractography Results, a TRX file and a connectivity table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment

from operators.results.connectivity_table import write_connectivity_tables
from operators.results.settings import ResultsSettings
from operators.results.tractogram import write_tractogram
from operators.results.tractogram_file import write_tractogram_file
from operators.results.writer_operator import ResultWriterOperator


class TractsWriterOperator(ResultWriterOperator):
    """Writes the tracts of every result that has some, and what they connect.

    Args:
        fragment: the application.
        folder: staging folder; the application publishes it when all is written.
        settings: ``tractogram``, ``tractogram_file`` and ``connectivity_table`` switch each off.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        folder: Path,
        settings: ResultsSettings,
        **kwargs: Any,
    ) -> None:
        chosen = (
            (settings.tractogram, write_tractogram),
            (settings.tractogram_file, write_tractogram_file),
            (settings.connectivity_table, write_connectivity_tables),
        )
        writers = [writer for wanted, writer in chosen if wanted]
        super().__init__(fragment, *args, folder=folder, writers=writers, **kwargs)
