"""Voxelwise networks over any number of voxels, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from operators.inference.bundle import Bundle
from operators.inference.cores import available_cores
from operators.inference.onnx_network import CPU, Device, OnnxNetwork

#: Most voxels of one run of a voxelwise network. One fixed shape keeps the memory of a run
#: constant, and a voxel's value independent of how many others there are.
CHUNK_VOXELS = 8192
#: On the CPU the layers of so many voxels stay in a core's cache. Each core takes runs of its own:
#: cores that share one run wait for each other at every layer.
_CPU_CHUNK_VOXELS = 2048


class OnnxSession(OnnxNetwork):
    """A voxelwise network that is loaded, checked against its golden values and warmed up.

    Args:
        bundle: the verified bundle.
        device: as for :class:`OnnxNetwork`.

    Raises:
        DeviceUnavailableError: as for :class:`OnnxNetwork`.
        BundleError: as for :class:`OnnxNetwork`.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        super().__init__(bundle, device)
        on_cpu = self.provider == CPU
        self._chunk = _CPU_CHUNK_VOXELS if on_cpu else CHUNK_VOXELS
        self._cores = ThreadPoolExecutor(available_cores() if on_cpu else 1)
        self._warm_up()

    @property
    def _threads_of_a_run(self) -> int:
        return 1

    def predict(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network over any number of voxels, in chunks of one shape.

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

        def run(start: int) -> None:
            part = {name: values[start : start + self._chunk] for name, values in inputs.items()}
            number = len(next(iter(part.values())))
            if number < self._chunk:
                # Copies of the last voxel fill up the fixed shape.
                part = {
                    name: np.pad(values, ((0, self._chunk - number), (0, 0)), mode="edge")
                    for name, values in part.items()
                }
            outputs = self._session.run(list(results), part)
            for name, values in zip(results, outputs, strict=True):
                results[name][start : start + number] = values[:number]

        # Going through the answers raises what a run has raised.
        for _ in self._cores.map(run, range(0, voxels, self._chunk)):
            pass
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

    def _warm_up(self) -> None:
        """One run at the real shape: later ones then take neither memory nor planning."""
        middle = {
            name: np.full((1, described.channels), np.mean(described.value_range), np.float32)
            for name, described in self.bundle.metadata.inputs.items()
        }
        self.predict(middle)
