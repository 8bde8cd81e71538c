"""The generative prior of diffusion maps as an ONNX Runtime session."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from models.diffusion.prior import INPUTS, OUTPUTS
from operators.inference.bundle import Bundle, BundleError
from operators.inference.onnx_network import Device, OnnxNetwork
from operators.vocabulary.refusal import Refusal

#: Name of the network that knows maps of the tensor of one shell.
TENSOR_PRIOR = "prior_dti"


class PriorSession(OnnxNetwork):
    """A denoiser of parameter maps, called as ``models.diffusion.prior.RunNetwork``.

    Args:
        bundle: the verified bundle.
        device: as for :class:`OnnxNetwork`.

    Raises:
        DeviceUnavailableError: as for :class:`OnnxNetwork`.
        BundleError: as for :class:`OnnxNetwork`, or its inputs and outputs are not those of a
            prior.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        for kind, described, wanted in (
            ("inputs", bundle.metadata.inputs, INPUTS),
            ("outputs", bundle.metadata.outputs, OUTPUTS),
        ):
            if tuple(described) != wanted:
                raise BundleError(
                    f"bundle {bundle.metadata.name}: a prior has the {kind} {', '.join(wanted)}, "
                    f"the metadata states {', '.join(described)}"
                )
        super().__init__(bundle, device)

    def __call__(
        self, maps: np.ndarray, sd: np.ndarray, correlation: np.ndarray, brain: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and SD of a batch of slices; shapes as in ``RunNetwork``."""
        outputs = self.run(dict(zip(INPUTS, (maps, sd, correlation, brain), strict=True)))
        mean, posterior_sd = (outputs[name] for name in OUTPUTS)
        return mean, posterior_sd


def tensor_prior(bundles: Mapping[str, Bundle]) -> Bundle:
    """The network of the tensor's maps.

    Args:
        bundles: networks of the pipeline, by name.

    Raises:
        Refusal: there is none.
    """
    if TENSOR_PRIOR not in bundles:
        raise Refusal(
            "no-prior-network",
            f"the models folder holds no network {TENSOR_PRIOR} for the prior of diffusion maps",
            "Give the models folder that comes with QuantMAP (HOLOSCAN_MODEL_PATH), or set "
            "pipelines.diffusion.prior.weight to 0 for maps from the data alone.",
        )
    return bundles[TENSOR_PRIOR]


class PriorNetwork:
    """The prior of a run: loaded when the first series needs it, then kept.

    Args:
        bundles: networks of the pipeline, by name.
        device: where it runs; "cuda" never falls back.
    """

    def __init__(self, bundles: Mapping[str, Bundle], device: Device = "auto") -> None:
        self._bundles = bundles
        self._device = device

    @cached_property
    def session(self) -> PriorSession:
        """The running network.

        Raises:
            Refusal: the models folder holds none.
            BundleError: it does not do what its metadata says.
            DeviceUnavailableError: the device is "cuda" and cannot be used.
        """
        return PriorSession(tensor_prior(self._bundles), self._device)
