"""What the operators that write results have in common: one port in, one port out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from operators.results.write_results import Writer, write_planned
from operators.vocabulary.run import PipelineOutcome


class ResultWriterOperator(Operator):
    """Writes some kinds of objects for all results of a study.

    In: ``outcomes``, a list of `PipelineOutcome`. Out: ``written``, a list of
    `WrittenObject`, empty where there is nothing to write.

    Args:
        fragment: the application.
        folder: staging folder; the application publishes it when all is written.
        writers: the kinds of objects to write; none switches the operator off.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, folder: Path, writers: Sequence[Writer], **kwargs: Any
    ) -> None:
        self.folder = folder
        self.writers = tuple(writers)
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declares the ports."""
        spec.input("outcomes")
        spec.output("written")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Writes the objects and emits what was written."""
        outcomes: list[PipelineOutcome] = op_input.receive("outcomes")
        results = [result for outcome in outcomes for result in outcome.results]
        op_output.emit(write_planned(results, self.folder, self.writers), "written")
