"""The operator of the ``diffusion`` pipeline: acquisitions in, tensor maps out."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from operators.inference.diffusion import diffusion_outcome
from operators.inference.settings import DiffusionSettings


class DiffusionOperator(Operator):
    """Analyses every diffusion series of a study, one at a time.

    Inputs:
        acquired: AcquiredStudy.

    Outputs:
        outcome: PipelineOutcome, always; idle where the study holds no diffusion series.

    Args:
        settings: how to fit.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        settings: DiffusionSettings | None = None,
        **kwargs: Any,
    ) -> None:
        self.settings = settings or DiffusionSettings()
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("acquired")
        spec.output("outcome")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Analyse what there is."""
        op_output.emit(diffusion_outcome(op_input.receive("acquired"), self.settings), "outcome")
