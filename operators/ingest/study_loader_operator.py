"""The first operator: an input folder in, the headers of its images out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from operators.ingest.study import Progress, load_study


class StudyLoaderOperator(Operator):
    """Opens every file of the input folder once; keeps headers, leaves pixels where they are.

    Outputs:
        study: Study, always; without series where the folder holds no images.

    Args:
        input_folder: what to load.
        progress: told after each file, (files done, files in all).
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        input_folder: Path,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> None:
        self.input_folder = Path(input_folder)
        self.progress = progress
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.output("study")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Load the folder."""
        op_output.emit(load_study(self.input_folder, self.progress), "study")
