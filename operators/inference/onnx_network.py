"""Networks of bundles in ONNX Runtime that run where they were told to.

ONNX Runtime falls back to the CPU without an error, also when only CUDA was asked for. Here
``auto`` may fall back, which is recorded; ``cuda`` raises instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from operators.inference.bundle import Bundle, BundleError
from operators.inference.cores import available_cores
from operators.inference.triton_session import TritonSession, is_address

#: "auto", "cpu", "cuda", or the address of an inference server, ``triton://HOST[:PORT]``.
Device = str

CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
_FATAL_ONLY = 4
_WARNINGS = 2
_LOG = logging.getLogger(__name__)


class DeviceUnavailableError(RuntimeError):
    """The device that was asked for explicitly cannot run networks."""


def check_installation() -> str:
    """Name and version of the one ONNX Runtime package.

    ``onnxruntime`` and ``onnxruntime-gpu`` share one import name and overwrite each other.

    Raises:
        RuntimeError: none or both are installed.
    """
    found = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    if len(found) != 1:
        raise RuntimeError(
            f"exactly one of {' and '.join(_DISTRIBUTIONS)} must be installed, found "
            f"{' and '.join(found) or 'none'}; uninstall both and install requirements.txt"
        )
    return found[0]


def cuda_devices() -> int:
    """Number of CUDA devices that the NVIDIA driver offers; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def check_device(device: Device) -> None:
    """Find out early that a device is not there.

    Raises:
        DeviceUnavailableError: ``device`` is "cuda" and the driver offers none.
    """
    if device == "cuda" and cuda_devices() == 0:
        raise DeviceUnavailableError(
            "device 'cuda' was asked for, but the NVIDIA driver offers no device; "
            "use --device auto or cpu, or start the container with GPUs"
        )


class _Node(Protocol):
    """An input or output of a session."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> Sequence[int | str | None]: ...


class _Session(Protocol):
    """What is used of a session, here or on an inference server."""

    def get_inputs(self) -> Sequence[_Node]: ...

    def get_outputs(self) -> Sequence[_Node]: ...

    def run(
        self, names: Sequence[str], inputs: Mapping[str, np.ndarray]
    ) -> Sequence[np.ndarray]: ...


class OnnxNetwork:
    """A network of a bundle that is loaded and checked against its golden values.

    Args:
        bundle: the verified bundle.
        device: "auto" takes CUDA where it works and the CPU elsewhere; "cuda" and "cpu" take
            that or raise; ``triton://HOST[:PORT]`` has an inference server run it.

    Raises:
        DeviceUnavailableError: ``device`` is "cuda" and the network cannot run there.
        InferenceServerError: the inference server cannot give this network's answers.
        BundleError: the network's inputs and outputs are not those of its metadata, or it
            does not reproduce its golden values.

    Attributes:
        bundle: the bundle.
        provider: the execution provider in use ("CPUExecutionProvider", …), or the inference
            server.
        fell_back: true where "auto" found a CUDA device that could not be used.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        self.bundle = bundle
        self.fell_back = False
        self._session: _Session
        if is_address(device):
            self._session = TritonSession(device, bundle)
            self.provider = f"inference server {device}"
        else:
            self._open_here(device)
        self._check_signature()
        self._check_golden()
        _LOG.info(
            "network ready", extra={"network": bundle.metadata.name, "provider": self.provider}
        )

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network once.

        Args:
            inputs: every input of the metadata, float32, of the shape and in the unit that it
                states. Dimensions with a name may have any length, the same wherever the name
                occurs.

        Returns:
            Every output by name, float32.

        Raises:
            ValueError: an input is missing, unknown or of another shape.
        """
        expected = self.bundle.metadata.inputs
        if set(inputs) != set(expected):
            raise ValueError(
                f"network {self.bundle.metadata.name} takes {sorted(expected)}, "
                f"got {sorted(inputs)}"
            )
        lengths: dict[str, int] = {}
        for name, described in expected.items():
            shape = inputs[name].shape
            agrees = _fits(shape, described.shape, lengths)
            if not agrees:
                raise ValueError(
                    f"input {name} of {self.bundle.metadata.name} must be {described.shape} with "
                    f"{lengths}, got {shape}"
                )
        names = list(self.bundle.metadata.outputs)
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    @property
    def _threads_of_a_run(self) -> int:
        """Cores that share one run on the CPU."""
        return available_cores()

    def _open_here(self, device: Device) -> None:
        """Open the network in this process."""
        import onnxruntime

        check_installation()
        check_device(device)
        devices = cuda_devices() if device != "cpu" else 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads_of_a_run
        options.inter_op_num_threads = 1
        # Threads that wait by spinning take the cores from each other when there is other work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if devices:
            said = self._preload(onnxruntime)
            providers = [(_CUDA, {"use_tf32": "0"}), (CPU, {})]
            # What goes wrong is told by the provider that came of it, not on stderr.
            onnxruntime.set_default_logger_severity(_FATAL_ONLY)
        else:
            said, providers = "", [(CPU, {})]
        try:
            session = onnxruntime.InferenceSession(self.bundle.network, options, providers)
        finally:
            onnxruntime.set_default_logger_severity(_WARNINGS)
        self._session = session
        self.provider = session.get_providers()[0]
        self.fell_back = devices > 0 and self.provider != _CUDA
        if self.fell_back and device == "cuda":
            raise DeviceUnavailableError(
                "device 'cuda' was asked for, but ONNX Runtime cannot use it with the CUDA and "
                f"cuDNN libraries installed here ({said or 'no reason given'}); install "
                "onnxruntime-gpu[cuda,cudnn], or use --device auto or cpu"
            )

    @staticmethod
    def _preload(onnxruntime: object) -> str:
        """Load the CUDA libraries of the pip packages; returns what was printed about it."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            onnxruntime.preload_dlls()  # type: ignore[attr-defined]  # it has no type stubs
        return " ".join(printed.getvalue().split())

    def _check_signature(self) -> None:
        metadata = self.bundle.metadata
        for kind, nodes, described in (
            ("inputs", self._session.get_inputs(), metadata.inputs),
            ("outputs", self._session.get_outputs(), metadata.outputs),
        ):
            in_network = {node.name: _lengths(node.shape) for node in nodes}
            in_metadata = {name: _lengths(tensor.shape) for name, tensor in described.items()}
            if in_network != in_metadata:
                raise BundleError(
                    f"bundle {metadata.name}: the network's {kind} are {in_network}, "
                    f"the metadata states {in_metadata}"
                )

    def _check_golden(self) -> None:
        metadata = self.bundle.metadata
        if self.bundle.golden is None or metadata.golden is None:
            return
        tolerance = metadata.golden.tolerance["cuda" if self.provider == _CUDA else "cpu"]
        with np.load(self.bundle.golden, allow_pickle=False) as golden:
            found = self.run({name: golden[f"input_{name}"] for name in metadata.inputs})
            for name, described in metadata.outputs.items():
                off = np.abs(found[name] - golden[f"output_{name}"])
                # Channels of one output may be quantities of very different size.
                apart = [off] if len(described.channel_ranges) == 1 else np.moveaxis(off, 1, 0)
                for values, (low, high) in zip(apart, described.channel_ranges, strict=True):
                    deviation = float(values.max())
                    # Written so that a deviation that is not a number fails too.
                    if not deviation <= tolerance * (high - low):
                        raise BundleError(
                            f"bundle {metadata.name}: {name} deviates from its golden values by "
                            f"{deviation:.3g} {described.unit} on {self.provider}, allowed is "
                            f"{tolerance * (high - low):.3g}"
                        )


def _fits(shape: tuple[int, ...], described: tuple[str | int, ...], named: dict[str, int]) -> bool:
    """Whether a shape is the described one; ``named`` keeps the lengths of named dimensions."""
    return len(shape) == len(described) and all(
        length == (named.setdefault(wanted, length) if isinstance(wanted, str) else wanted)
        for length, wanted in zip(shape, described, strict=True)
    )


def _lengths(shape: Sequence[str | int | None]) -> tuple[int | None, ...]:
    """The fixed lengths of a shape; None for those that may be any (-1 on a server)."""
    return tuple(length if isinstance(length, int) and length >= 0 else None for length in shape)
