"""Operator: quantity maps into float Parametric Maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment

from operators.results.parametric_map import write_parametric_maps
from operators.results.settings import ResultsSettings
from operators.results.writer_operator import ResultWriterOperator


class ParametricMapWriterOperator(ResultWriterOperator):
    """Writes the float Parametric Map of every quantity.

    Args:
        fragment: the application.
        folder: staging folder; the application publishes it when all is written.
        settings: ``parametric_maps`` switches it off.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        folder: Path,
        settings: ResultsSettings,
        **kwargs: Any,
    ) -> None:
        writers = [write_parametric_maps] if settings.parametric_maps else []
        super().__init__(fragment, *args, folder=folder, writers=writers, **kwargs)
