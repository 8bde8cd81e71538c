"""The operator of the ``diffusion`` pipeline: acquisitions in, maps of diffusion out."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Model, Operator, OperatorSpec

from operators.inference.diffusion import PIPELINE, diffusion_outcome
from operators.inference.onnx_model import OnnxModel
from operators.inference.onnx_network import Device, check_device
from operators.inference.settings import DiffusionSettings


class DiffusionOperator(Operator):
    """Analyses every diffusion series of a study, one at a time.

    Inputs:
        acquired: AcquiredStudy.

    Outputs:
        outcome: PipelineOutcome, always; idle where the study holds no diffusion series.

    Args:
        settings: what is fitted, and how.
        models: ``models`` of the application context, where ``OnnxModel`` is registered. With
            anything else every series that needs the prior is refused for want of a network.
        device: where the network runs; "cuda" never falls back.

    Raises:
        DeviceUnavailableError: ``device`` is "cuda" and there is none.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        settings: DiffusionSettings | None = None,
        models: Model | None = None,
        device: Device = "auto",
        **kwargs: Any,
    ) -> None:
        check_device(device)
        self.settings = settings or DiffusionSettings()
        self.bundles = models.bundles(PIPELINE) if isinstance(models, OnnxModel) else {}
        self.device = device
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("acquired")
        spec.output("outcome")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Analyse what there is."""
        study = op_input.receive("acquired")
        outcome = diffusion_outcome(study, self.bundles, self.settings, self.device)
        op_output.emit(outcome, "outcome")
