"""Everything that is written for the results of one study, in plain function pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from operators.results.colour_copy import write_colour_copies
from operators.results.colour_map import write_colour_maps
from operators.results.connectivity_table import write_connectivity_tables
from operators.results.measurement_report import write_measurement_report
from operators.results.parametric_map import write_parametric_maps
from operators.results.segmentation import write_segmentation
from operators.results.series_plan import ResultPlan, plan_results
from operators.results.settings import ResultsSettings
from operators.results.summary import write_summary
from operators.results.synthetic_image import write_synthetic_images
from operators.results.tissue_fractions import write_tissue_fractions
from operators.results.tractogram import write_tractogram
from operators.results.tractogram_file import write_tractogram_file
from operators.results.viewer_image import write_viewer_images
from operators.vocabulary.result import PipelineResult
from operators.vocabulary.run import WrittenObject

Writer = Callable[[ResultPlan, Path], list[WrittenObject]]
"""Writes one kind of object of one planned result below a folder."""


def chosen_writers(settings: ResultsSettings) -> list[Writer]:
    """The writers that the settings ask for, in the order in which their objects refer."""
    choices: list[tuple[bool, Writer]] = [
        (settings.parametric_maps, write_parametric_maps),
        (settings.viewer_images, write_viewer_images),
        (settings.viewer_images, write_colour_copies),
        (settings.colour_maps, write_colour_maps),
        (settings.synthetic_images, write_synthetic_images),
        (settings.segmentation, write_segmentation),
        (settings.segmentation, write_tissue_fractions),
        (settings.measurement_report, write_measurement_report),
        (settings.tractogram, write_tractogram),
        (settings.tractogram_file, write_tractogram_file),
        (settings.connectivity_table, write_connectivity_tables),
        (settings.summary, write_summary),
    ]
    return [writer for chosen, writer in choices if chosen]


def write_planned(
    results: Sequence[PipelineResult],
    folder: Path,
    writers: Sequence[Writer],
    created: datetime | None = None,
) -> list[WrittenObject]:
    """Writes the objects of some kinds for all results of one study.

    The plan depends on the results alone, so that writers that are called one by one agree
    on UIDs, series numbers and folders.

    Args:
        results: all results of the study, always in the same order.
        folder: result folder, made when absent.
        writers: the kinds to write.
        created: date and time stated in the objects; the present without it.

    Returns:
        One entry per file, with paths relative to ``folder``.
    """
    plans = plan_results(results, created or datetime.now())
    return [entry for plan in plans for writer in writers for entry in writer(plan, folder)]


def write_results(
    results: Sequence[PipelineResult],
    folder: Path,
    settings: ResultsSettings,
    created: datetime | None = None,
) -> list[WrittenObject]:
    """Writes every kind of object that the settings ask for; see `write_planned`."""
    return write_planned(results, folder, chosen_writers(settings), created)
