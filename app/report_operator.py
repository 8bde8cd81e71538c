"""The two joins of the graph: collect the outcomes of the pipelines, and report the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holoscan.core import IOSpec
from monai.deploy.core import Fragment, Operator, OperatorSpec

from app.result_file import ResultFile
from operators.vocabulary.run import AcquiredStudy, PipelineOutcome, WrittenObject

Report = Callable[[AcquiredStudy, list[PipelineOutcome], list[WrittenObject]], ResultFile]


class OutcomeCollectorOperator(Operator):
    """Joins what the pipelines did.

    Inputs:
        outcome: one PipelineOutcome from every pipeline.

    Outputs:
        outcomes: list of PipelineOutcome.
    """

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("outcome", size=IOSpec.ANY_SIZE)
        spec.output("outcomes")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Pass all outcomes on together."""
        op_output.emit(list(op_input.receive("outcome")), "outcomes")


class ReportOperator(Operator):
    """Ends the graph: makes the result of the run when every object is written.

    Inputs:
        acquired: AcquiredStudy.
        outcomes: list of PipelineOutcome.
        written: list of WrittenObject from every writer.

    Args:
        make: turns the three into the result.
    """

    def __init__(self, fragment: Fragment, *args: Any, make: Report, **kwargs: Any) -> None:
        self._make = make
        self.result: ResultFile | None = None
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("acquired")
        spec.input("outcomes")
        spec.input("written", size=IOSpec.ANY_SIZE)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Make the result."""
        written = [item for items in op_input.receive("written") for item in items]
        self.result = self._make(
            op_input.receive("acquired"), op_input.receive("outcomes"), written
        )
