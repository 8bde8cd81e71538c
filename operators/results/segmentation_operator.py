"""Operator: segments into one Segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment

from operators.results.segmentation import write_segmentation
from operators.results.settings import ResultsSettings
from operators.results.tissue_fractions import write_tissue_fractions
from operators.results.writer_operator import ResultWriterOperator


class SegmentationWriterOperator(ResultWriterOperator):
    """Writes one Segmentation per result, to which its report refers, and tissue fractions.

    Args:
        fragment: the application.
        folder: staging folder; the application publishes it when all is written.
        settings: ``segmentation`` switches it off.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        folder: Path,
        settings: ResultsSettings,
        **kwargs: Any,
    ) -> None:
        writers = [write_segmentation, write_tissue_fractions] if settings.segmentation else []
        super().__init__(fragment, *args, folder=folder, writers=writers, **kwargs)
