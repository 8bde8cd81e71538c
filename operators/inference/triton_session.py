"""Networks on an inference server that speaks KServe's v2 protocol over gRPC, such as Triton.

Several machines share one GPU so. The server must hold the network with the digest that the bundle
here states (``python -m models.export_triton`` writes both), or its answers would be another
network's.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.inference.bundle import Bundle

#: Form of an address: ``triton://HOST`` or ``triton://HOST:PORT``.
ADDRESS = re.compile(r"^triton://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::(\d{1,5}))?$")
_DEFAULT_PORT = 8001
#: Seconds for one answer; the largest networks take less than one.
_TIME_OUT = 60.0
#: Pauses before each further try, s: long enough for a server that is started anew.
_PAUSES = (0.5, 2.0, 5.0, 10.0, 20.0, 30.0)
#: No bound on messages, and a connection that is tried again soon; gRPC would wait up to 120 s.
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
#: gRPC states in which the server was not reached, did not answer in time, or is starting.
_TRANSIENT = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")
_LOG = logging.getLogger(__name__)


class InferenceServerError(RuntimeError):
    """The inference server cannot give the answers of this network."""


@dataclass(frozen=True)
class Node:
    """An input or output of a network.

    Attributes:
        name: its name.
        shape: fixed lengths, and -1 for those that may be any.
    """

    name: str
    shape: tuple[int | None, ...]


def is_address(device: str) -> bool:
    """Whether ``device`` names an inference server."""
    return ADDRESS.match(device) is not None


class TritonSession:
    """One network on an inference server, with the methods of ONNX Runtime's session that we use.

    A call that is cut off is made again, for about a minute: networks have no state, so that a
    second call gives the same answer.

    Args:
        address: ``triton://HOST[:PORT]``.
        bundle: the network as it ships here; its name is the model's name on the server.

    Raises:
        InferenceServerError: the server is not there, does not hold the network, or holds another
            one of that name.
    """

    def __init__(self, address: str, bundle: Bundle) -> None:
        from tritonclient import grpc

        found = ADDRESS.match(address)
        if found is None:
            raise ValueError(f"{address} is not of the form triton://HOST or triton://HOST:PORT")
        self._server = f"{found[1]}:{found[2] or _DEFAULT_PORT}"
        self._model = bundle.metadata.name
        self._client = grpc.InferenceServerClient(self._server, channel_args=_CHANNEL)
        self._grpc = grpc
        configuration = self._ask(
            lambda: self._client.get_model_config(
                self._model, as_json=True, client_timeout=_TIME_OUT
            )
        )["config"]
        parameters = configuration.get("parameters", {})
        digest = parameters.get("sha256", {}).get("string_value", "none")
        if digest != bundle.metadata.model.sha256:
            raise InferenceServerError(
                f"inference server {self._server} holds a network {self._model} with SHA-256 "
                f"{digest}, here is {bundle.metadata.model.sha256}; export the networks of this "
                "version for it (python -m models.export_triton)"
            )
        batched = int(configuration.get("max_batch_size", 0)) > 0
        self._nodes = {
            kind: _nodes(configuration.get(kind, []), batched) for kind in ("input", "output")
        }

    def get_inputs(self) -> Sequence[Node]:
        """Inputs, in the order of the server's configuration."""
        return self._nodes["input"]

    def get_outputs(self) -> Sequence[Node]:
        """Outputs, in the order of the server's configuration."""
        return self._nodes["output"]

    def run(self, names: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the network once.

        Args:
            names: outputs that are wanted.
            inputs: float32 arrays by name.

        Raises:
            InferenceServerError: no answer in spite of repeated calls, or a refusal.
        """
        tensors = []
        for name, values in inputs.items():
            tensor = self._grpc.InferInput(name, list(values.shape), "FP32")
            tensor.set_data_from_numpy(np.ascontiguousarray(values, np.float32))
            tensors.append(tensor)
        wanted = [self._grpc.InferRequestedOutput(name) for name in names]
        answer = self._ask(
            lambda: self._client.infer(
                self._model, tensors, outputs=wanted, client_timeout=_TIME_OUT
            )
        )
        return [answer.as_numpy(name) for name in names]

    def _ask(self, call):  # type: ignore[no-untyped-def]  # tritonclient has no type stubs
        """The answer to a call, made again while the server is out of reach."""
        from tritonclient.utils import InferenceServerException

        for pause in (*_PAUSES, None):
            try:
                return call()
            except InferenceServerException as error:
                if error.status() not in _TRANSIENT:
                    raise InferenceServerError(
                        f"inference server {self._server} refused network {self._model}: "
                        f"{error.message()}; does it hold the networks of this version "
                        "(python -m models.export_triton)?"
                    ) from None
                if pause is None:
                    raise InferenceServerError(
                        f"inference server {self._server} gave no answer for network "
                        f"{self._model} in {len(_PAUSES) + 1} tries ({error.status()}); start it, "
                        "or set inference: local"
                    ) from None
                _LOG.warning("inference server gave no answer; trying again in %.1f s", pause)
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


def _nodes(described: Sequence[Mapping[str, Any]], batched: bool) -> list[Node]:
    """Inputs or outputs of a configuration; the batch, where there is one, is not in its dims."""
    first = (-1,) if batched else ()
    return [
        Node(str(one["name"]), (*first, *(int(length) for length in one.get("dims", ()))))
        for one in described
    ]
