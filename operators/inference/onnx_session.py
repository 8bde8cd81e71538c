"""ONNX Runtime sessions that run where they were told to, in bounded memory.

ONNX Runtime falls back to the CPU without an error, also when only CUDA was asked for. Here
``auto`` may fall back, which is recorded; ``cuda`` raises instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import logging
from collections.abc import Mapping
from typing import Literal

import numpy as np

from operators.inference.bundle import Bundle, BundleError
from operators.inference.cores import available_cores

Device = Literal["auto", "cpu", "cuda"]

#: Voxels of one run of a voxelwise network. One fixed shape keeps the memory of a run
#: constant, and a voxel's value independent of how many others there are.
CHUNK_VOXELS = 8192

_CPU = "CPUExecutionProvider"
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


class OnnxSession:
    """A voxelwise network that is loaded, warmed up and checked against its golden values.

    Args:
        bundle: the verified bundle.
        device: "auto" takes CUDA where it works and the CPU elsewhere; "cuda" and "cpu" take
            that or raise.

    Raises:
        DeviceUnavailableError: ``device`` is "cuda" and the network cannot run there.
        BundleError: the network's inputs and outputs are not those of its metadata, or it
            does not reproduce its golden values.

    Attributes:
        bundle: the bundle.
        provider: the execution provider in use ("CPUExecutionProvider", …).
        fell_back: true where "auto" found a CUDA device that could not be used.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        import onnxruntime

        check_installation()
        check_device(device)
        self.bundle = bundle
        devices = cuda_devices() if device != "cpu" else 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.inter_op_num_threads = 1
        # Threads that wait by spinning take the cores from each other when there is other work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if devices:
            said = self._preload(onnxruntime)
            providers = [(_CUDA, {"use_tf32": "0"}), (_CPU, {})]
            # What goes wrong is told by the provider that came of it, not on stderr.
            onnxruntime.set_default_logger_severity(_FATAL_ONLY)
        else:
            said, providers = "", [(_CPU, {})]
        try:
            self._session = onnxruntime.InferenceSession(bundle.network, options, providers)
        finally:
            onnxruntime.set_default_logger_severity(_WARNINGS)
        self.provider: str = self._session.get_providers()[0]
        self.fell_back = devices > 0 and self.provider != _CUDA
        if self.fell_back and device == "cuda":
            raise DeviceUnavailableError(
                "device 'cuda' was asked for, but ONNX Runtime cannot use it with the CUDA and "
                f"cuDNN libraries installed here ({said or 'no reason given'}); install "
                "onnxruntime-gpu[cuda,cudnn], or use --device auto or cpu"
            )
        self._check_signature()
        self._warm_up()
        self._check_golden()
        _LOG.info(
            "network ready", extra={"network": bundle.metadata.name, "provider": self.provider}
        )

    def predict(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network over any number of voxels, in chunks of 8,192.

        Args:
            features: per input, (voxels, channels) or (voxels,) for one channel, in the unit
                that the metadata states, every value finite.

        Returns:
            Per output, float32 (voxels, channels).

        Raises:
            ValueError: an input is missing or unknown, or has a wrong shape or a value that
                is not finite.
        """
        inputs = self._checked(features)
        voxels = len(next(iter(inputs.values())))
        results = {
            name: np.empty((voxels, description.channels), np.float32)
            for name, description in self.bundle.metadata.outputs.items()
        }
        for start in range(0, voxels, CHUNK_VOXELS):
            part = {name: values[start : start + CHUNK_VOXELS] for name, values in inputs.items()}
            number = len(next(iter(part.values())))
            if number < CHUNK_VOXELS:
                # Copies of the last voxel fill up the fixed shape.
                part = {
                    name: np.pad(values, ((0, CHUNK_VOXELS - number), (0, 0)), mode="edge")
                    for name, values in part.items()
                }
            outputs = self._session.run(list(results), part)
            for name, values in zip(results, outputs, strict=True):
                results[name][start : start + number] = values[:number]
        return results

    def _checked(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        expected = self.bundle.metadata.inputs
        if set(features) != set(expected):
            raise ValueError(
                f"network {self.bundle.metadata.name} takes {sorted(expected)}, "
                f"got {sorted(features)}"
            )
        inputs = {name: np.ascontiguousarray(features[name], np.float32) for name in expected}
        inputs = {
            name: values[:, None] if values.ndim == 1 else values for name, values in inputs.items()
        }
        voxels = len(next(iter(inputs.values())))
        for name, values in inputs.items():
            if values.shape != (voxels, expected[name].channels):
                raise ValueError(
                    f"input {name} of {self.bundle.metadata.name} must be "
                    f"({voxels}, {expected[name].channels}), got {values.shape}"
                )
            if not np.isfinite(values).all():
                raise ValueError(
                    f"input {name} of {self.bundle.metadata.name} holds "
                    f"{np.count_nonzero(~np.isfinite(values))} values that are not finite"
                )
        return inputs

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
            in_network = {node.name: node.shape[-1] for node in nodes}
            in_metadata = {name: tensor.channels for name, tensor in described.items()}
            if in_network != in_metadata:
                raise BundleError(
                    f"bundle {metadata.name}: the network's {kind} are {in_network}, "
                    f"the metadata states {in_metadata}"
                )

    def _warm_up(self) -> None:
        """One run at the real shape: later ones then take neither memory nor planning."""
        middle = {
            name: np.full((1, described.channels), np.mean(described.value_range), np.float32)
            for name, described in self.bundle.metadata.inputs.items()
        }
        self.predict(middle)

    def _check_golden(self) -> None:
        metadata = self.bundle.metadata
        if self.bundle.golden is None or metadata.golden is None:
            return
        tolerance = metadata.golden.tolerance["cuda" if self.provider == _CUDA else "cpu"]
        with np.load(self.bundle.golden, allow_pickle=False) as golden:
            found = self.predict({name: golden[f"input_{name}"] for name in metadata.inputs})
            for name, described in metadata.outputs.items():
                low, high = described.value_range
                deviation = float(np.abs(found[name] - golden[f"output_{name}"]).max())
                # Written so that a deviation that is not a number fails too.
                if not deviation <= tolerance * (high - low):
                    raise BundleError(
                        f"bundle {metadata.name}: {name} deviates from its golden values by "
                        f"{deviation:.3g} {described.unit} on {self.provider}, allowed is "
                        f"{tolerance * (high - low):.3g}"
                    )
