"""The second operator: headers in, recognised and assembled acquisitions out."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from operators.ingest.acquire import acquire_study
from operators.ingest.settings import IngestSettings


class AcquisitionOperator(Operator):
    """Recognises every series of a study and assembles those that can be used.

    Inputs:
        study: Study.

    Outputs:
        acquired: AcquiredStudy, always; it lists refused, unrecognised and skipped things too.

    Args:
        settings: named series and rules.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        settings: IngestSettings | None = None,
        **kwargs: Any,
    ) -> None:
        self.settings = settings or IngestSettings()
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("study")
        spec.output("acquired")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Acquire the study."""
        op_output.emit(acquire_study(op_input.receive("study"), self.settings), "acquired")
