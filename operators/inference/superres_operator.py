"""The operator of the ``superres`` pipeline: acquisitions in, sharp PD, T1 and T2 maps out."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Model, Operator, OperatorSpec

from operators.inference.onnx_model import OnnxModel
from operators.inference.onnx_network import Device, check_device
from operators.inference.settings import SuperresSettings
from operators.inference.superres import PIPELINE, superres_outcome


class SuperresOperator(Operator):
    """Sharpens the PD, T1 and T2 maps of a study with its weighted images.

    Inputs:
        acquired: AcquiredStudy.

    Outputs:
        outcome: PipelineOutcome, always; idle where the study holds no such maps or no guide.

    Args:
        settings: of the pipeline.
        models: ``models`` of the application context, where ``OnnxModel`` is registered. With
            anything else the maps are refused for want of a network.
        device: where the network runs; "cuda" never falls back.

    Raises:
        DeviceUnavailableError: ``device`` is "cuda" and there is none.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        settings: SuperresSettings | None = None,
        models: Model | None = None,
        device: Device = "auto",
        **kwargs: Any,
    ) -> None:
        check_device(device)
        self.settings = settings or SuperresSettings()
        self.bundles = models.bundles(PIPELINE) if isinstance(models, OnnxModel) else {}
        self.device = device
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("acquired")
        spec.output("outcome")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Sharpen what there is."""
        study = op_input.receive("acquired")
        outcome = superres_outcome(study, self.bundles, self.settings, self.device)
        op_output.emit(outcome, "outcome")
