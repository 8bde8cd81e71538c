"""What a finished job left: its result file, its pictures, its objects."""

from __future__ import annotations

from pathlib import Path

from app.node.page.previews import KIND, Preview
from app.node.records import NodeJob
from app.result_file import FILE_NAME, OutputEntry, ResultFile
from operators.vocabulary.quantity import QUANTITIES

#: Kind of output that is the summary of one analysed series.
SUMMARY = "summary picture"


class Results:
    """The folder of results.

    Args:
        folder: in which each job has one of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, job: NodeJob) -> ResultFile | None:
        """The result file of a job, or None where there is none (any more)."""
        return (
            ResultFile.read(self._folder / job.result_folder / FILE_NAME)
            if job.result_folder
            else None
        )

    def previews(self, result: ResultFile) -> list[Preview]:
        """The maps of a result, in order."""
        return [
            Preview(
                number,
                QUANTITIES[output.quantity].label,
                QUANTITIES[output.quantity].code.meaning,
                output.path.rpartition("/")[0].partition("/")[0],
            )
            for number, output in enumerate(result.outputs)
            if output.kind == KIND and output.quantity in QUANTITIES
        ]

    def summaries(self, result: ResultFile) -> list[int]:
        """Numbers of the outputs that are summary pictures."""
        return [number for number, one in enumerate(result.outputs) if one.kind == SUMMARY]

    def file(self, job: NodeJob, number: int) -> tuple[Path, OutputEntry] | None:
        """An output of a job by its number in the result file, or None where it is gone."""
        result = self.of(job)
        if result is None or not 0 <= number < len(result.outputs):
            return None
        output = result.outputs[number]
        # result.json refuses paths that lead out of its folder; links are not followed out of it.
        root = (self._folder / job.result_folder).resolve()
        path = (root / output.path).resolve()
        return (path, output) if path.is_relative_to(root) and path.is_file() else None
