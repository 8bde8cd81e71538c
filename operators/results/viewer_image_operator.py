"""Operator: quantity maps, colour maps and synthetic images into images for any viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment

from operators.results.colour_copy import write_colour_copies
from operators.results.colour_map import write_colour_maps
from operators.results.settings import ResultsSettings
from operators.results.synthetic_image import write_synthetic_images
from operators.results.viewer_image import write_viewer_images
from operators.results.write_results import Writer
from operators.results.writer_operator import ResultWriterOperator


class ViewerImageWriterOperator(ResultWriterOperator):
    """Writes the viewable copies of all maps, Enhanced MR Color Images and synthetic images.

    Args:
        fragment: the application.
        folder: staging folder; the application publishes it when all is written.
        settings: ``viewer_images``, ``colour_maps``, ``synthetic_images`` switch them off.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        folder: Path,
        settings: ResultsSettings,
        **kwargs: Any,
    ) -> None:
        writers: list[Writer] = []
        if settings.viewer_images:
            writers += [write_viewer_images, write_colour_copies]
        if settings.colour_maps:
            writers.append(write_colour_maps)
        if settings.synthetic_images:
            writers.append(write_synthetic_images)
        super().__init__(fragment, *args, folder=folder, writers=writers, **kwargs)
