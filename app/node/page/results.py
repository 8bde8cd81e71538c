"""What a finished job left: its result file, its pictures, its objects."""

from __future__ import annotations

from pathlib import Path

from app.node.page.previews import KIND, Preview, window_text
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

    def folder(self, job: NodeJob) -> Path:
        """Where the results of a job lie, that has some."""
        return self._folder / job.result_folder

    def of(self, job: NodeJob) -> ResultFile | None:
        """The result file of a job, or None where there is none (any more)."""
        return (
            ResultFile.read(self._folder / job.result_folder / FILE_NAME)
            if job.result_folder
            else None
        )

    def previews(self, job: NodeJob, result: ResultFile) -> list[Preview]:
        """The maps of a result that are there, in the order of the table of quantities."""
        order = list(QUANTITIES)
        found = []
        for number, output in enumerate(result.outputs):
            path = self._place(job, output)
            if output.kind != KIND or output.quantity not in QUANTITIES or path is None:
                continue
            quantity = QUANTITIES[output.quantity]
            group = output.path.rpartition("/")[0].partition("/")[0]
            window = window_text(path, quantity)
            found.append(Preview(number, quantity.label, quantity.code.meaning, window, group))
        return sorted(found, key=lambda one: order.index(result.outputs[one.number].quantity))

    def summaries(self, result: ResultFile) -> list[int]:
        """Numbers of the outputs that are summary pictures."""
        return [number for number, one in enumerate(result.outputs) if one.kind == SUMMARY]

    def file(self, job: NodeJob, number: int) -> tuple[Path, OutputEntry] | None:
        """An output of a job by its number in the result file, or None where it is gone."""
        result = self.of(job)
        if result is None or not 0 <= number < len(result.outputs):
            return None
        output = result.outputs[number]
        path = self._place(job, output)
        return None if path is None else (path, output)

    def _place(self, job: NodeJob, output: OutputEntry) -> Path | None:
        # result.json refuses paths that lead out of its folder; links are not followed out of it.
        root = (self._folder / job.result_folder).resolve()
        path = (root / output.path).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
