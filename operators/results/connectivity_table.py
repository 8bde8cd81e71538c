"""The connectivity of each parcellation as a table, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from operators.results.series_plan import ObjectKind, ResultPlan
from operators.vocabulary.run import WrittenObject
from operators.vocabulary.tracts import Connectivity

_COLUMNS = ("segment_a", "segment_b", "tracks", "mean_length_mm", "mean_fa")


def write_connectivity_tables(plan: ResultPlan, folder: Path) -> list[WrittenObject]:
    """Writes ``connectivity.csv`` below ``folder``, numbered where there are several.

    Returns:
        One entry per parcellation, with paths relative to ``folder``.
    """
    written = []
    for number, connectivity in enumerate(plan.result.connectivity, start=1):
        name = "connectivity.csv" if number == 1 else f"connectivity-{number}.csv"
        path = plan.folder / name
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(connectivity_table(connectivity), encoding="utf-8")
        written.append(WrittenObject(path=path, kind=ObjectKind.CONNECTIVITY_TABLE))
    return written


def connectivity_table(connectivity: Connectivity) -> str:
    """One line per pair of segments, each pair once, also those without a track.

    The matrix as a list: length and FA stand beside the number of tracks, and are empty
    where there is none.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for first, name in enumerate(connectivity.segments):
        for second in range(first, len(connectivity.segments)):
            table.writerow(
                (
                    name,
                    connectivity.segments[second],
                    connectivity.tracks[first, second],
                    _shown(connectivity.length[first, second], 2),
                    _shown(connectivity.anisotropy[first, second], 4),
                )
            )
    return text.getvalue()


def _shown(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"
