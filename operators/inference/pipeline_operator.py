"""What the operators of all pipelines have in common: acquisitions in, one outcome out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from monai.deploy.core import Fragment, Model, Operator, OperatorSpec
from pydantic import BaseModel

from operators.inference.onnx_model import OnnxModel
from operators.inference.onnx_network import Device, check_device
from operators.vocabulary.run import PipelineOutcome


class PipelineOperator(Operator):
    """Analyses what a study holds for one pipeline. A pipeline's own operator names three things.

    Inputs:
        acquired: AcquiredStudy.

    Outputs:
        outcome: PipelineOutcome, always; idle where the study holds nothing for the pipeline.

    Attributes:
        pipeline: name of the pipeline, as in ``pipelines`` of the settings.
        default_settings: what ``settings`` are unless given.
        analyse: function of the study, its bundles, the settings and the device.

    Args:
        settings: of the pipeline.
        models: ``models`` of the application context, where ``OnnxModel`` is registered. With
            anything else what needs a network is refused for want of it.
        device: where networks run; "cuda" never falls back.

    Raises:
        DeviceUnavailableError: ``device`` is "cuda" and there is none.
    """

    pipeline: ClassVar[str]
    default_settings: ClassVar[BaseModel]
    analyse: ClassVar[Callable[..., PipelineOutcome]]

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        settings: BaseModel | None = None,
        models: Model | None = None,
        device: Device = "auto",
        **kwargs: Any,
    ) -> None:
        check_device(device)
        self.settings = settings or self.default_settings
        self.bundles = models.bundles(self.pipeline) if isinstance(models, OnnxModel) else {}
        self.device = device
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("acquired")
        spec.output("outcome")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Analyse what there is."""
        study = op_input.receive("acquired")
        outcome = self.analyse(study, self.bundles, self.settings, self.device)
        op_output.emit(outcome, "outcome")
