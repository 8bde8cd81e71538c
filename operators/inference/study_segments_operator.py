"""The operator between pipelines and results: segments of the study on every result."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import Operator, OperatorSpec

from operators.inference.study_segments import with_study_segments


class StudySegmentsOperator(Operator):
    """Puts the segments that came with the study on the maps of every pipeline.

    Inputs:
        acquired: AcquiredStudy.
        outcomes: list of PipelineOutcome.

    Outputs:
        outcomes: list of PipelineOutcome, always; the same where the study holds no
            Segmentation.
    """

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("acquired")
        spec.input("outcomes")
        spec.output("outcomes")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Add what there is."""
        study = op_input.receive("acquired")
        outcomes = op_input.receive("outcomes")
        op_output.emit(with_study_segments(outcomes, study.segmentations), "outcomes")
