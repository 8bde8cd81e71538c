"""The operator of the ``cest_mt`` pipeline: acquisitions in, exchange parameter maps out."""

from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Model, Operator, OperatorSpec

from operators.inference.cest_mt import PIPELINE, cest_mt_outcome
from operators.inference.onnx_model import OnnxModel
from operators.inference.onnx_network import Device, check_device
from operators.inference.settings import CestMtSettings


class CestMtOperator(Operator):
    """Analyses every saturation series of a study, one at a time.

    Inputs:
        acquired: AcquiredStudy.

    Outputs:
        outcome: PipelineOutcome, always; idle where the study holds no saturation series.

    Args:
        settings: constants that stand in for missing maps.
        models: ``models`` of the application context, where ``OnnxModel`` is registered. With
            anything else every series is refused for want of a network.
        device: where networks run; "cuda" never falls back.

    Raises:
        DeviceUnavailableError: ``device`` is "cuda" and there is none.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        settings: CestMtSettings | None = None,
        models: Model | None = None,
        device: Device = "auto",
        **kwargs: Any,
    ) -> None:
        check_device(device)
        self.settings = settings or CestMtSettings()
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
        outcome = cest_mt_outcome(study, self.bundles, self.settings, self.device)
        op_output.emit(outcome, "outcome")
