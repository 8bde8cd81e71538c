"""CUDA beside the CPU: every network that ships, its answers and its time; then the pipelines.

``python -m benchmarks.gpu`` prints what ONNX Runtime offers, then for every network the largest
difference between its answers on CUDA and on the CPU, as a share of the span of each output's
value range and beside the tolerance of its metadata, and the time of both; then the time of every
pipeline on CUDA beside its peers there. Exit status 1 where a network exceeds its tolerance;
without a CUDA device it says so and ends with 0.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.device_pipelines import NO_PEER, DeviceRow, device_rows
from operators.inference.bundle import Bundle, find_bundles, read_bundle
from operators.inference.onnx_network import OnnxNetwork, check_installation, cuda_devices

_MODELS = Path(__file__).resolve().parents[1] / "models"
_VOXELS = 500_000
_SLICES = 16
_REPEATS = 5
_ROW = "{:24}{:>24}{:>9}{:>9}{:>7}{:>11}{:>9}"
_PIPELINE = "{:64}{:>9}{:>9}  {}"


@dataclass(frozen=True)
class Comparison:
    """One network on both devices.

    Attributes:
        network: its name.
        deviation: largest difference, as a share of the span of the output's value range.
        tolerance: what the metadata allow.
        cpu: seconds on the CPU.
        cuda: seconds on CUDA, with the transfers to and from the device.
        size: what was computed.
    """

    network: str
    deviation: float
    tolerance: float
    cpu: float
    cuda: float
    size: str

    @property
    def agrees(self) -> bool:
        """Whether CUDA gives what the CPU gives; false where it gives no number."""
        return self.deviation <= self.tolerance


def main() -> int:
    """Print the tables; returns the exit status."""
    print(check_installation(), "offers", ", ".join(onnxruntime.get_available_providers()))
    if cuda_devices() == 0:
        print("skipped: the NVIDIA driver offers no CUDA device")
        return 0
    comparisons = [compare(read_bundle(folder)) for folder in find_bundles(_MODELS)]
    print(_ROW.format("network", "size", "CPU s", "CUDA s", "ratio", "deviation", "allowed"))
    for one in comparisons:
        times = f"{one.cpu:.3f}", f"{one.cuda:.3f}", f"{one.cpu / one.cuda:.1f}"
        shares = f"{one.deviation:.1e}", f"{one.tolerance:.0e}"
        print(_ROW.format(one.network, one.size, *times, *shares), "" if one.agrees else "TOO FAR")
    print_pipelines(device_rows("cuda"))
    return 0 if all(one.agrees for one in comparisons) else 1


def print_pipelines(rows: Iterable[DeviceRow]) -> None:
    """Print the pipelines' times beside their peers'."""
    print()
    print(_PIPELINE.format("pipeline", "ours s", "peer s", "peer on the same device"))
    for row in rows:
        theirs = "-" if row.theirs is None else f"{row.theirs:.3f}"
        cannot = row.theirs is None and row.peer != "none"
        peer = row.peer + (": not run, this torch cannot use the device" if cannot else "")
        print(_PIPELINE.format(row.what, f"{row.ours:.3f}", theirs, peer))
    print("no other peer:", NO_PEER)


def compare(bundle: Bundle) -> Comparison:
    """Run a network on both devices with its golden inputs, repeated to a useful size.

    Args:
        bundle: with golden values.

    Raises:
        DeviceUnavailableError: CUDA cannot run it.
    """
    metadata = bundle.metadata
    if bundle.golden is None or metadata.golden is None:
        raise ValueError(f"bundle {metadata.name} has no golden values to compare with")
    with np.load(bundle.golden) as golden:
        inputs = {name: golden[f"input_{name}"] for name in metadata.inputs}
    batch = len(next(iter(inputs.values())))
    voxelwise = all(len(described.shape) == 2 for described in metadata.inputs.values())
    repeats = -(-(_VOXELS if voxelwise else _SLICES) // batch)
    inputs = {name: np.concatenate([value] * repeats) for name, value in inputs.items()}
    cpu, cuda = OnnxNetwork(bundle, "cpu"), OnnxNetwork(bundle, "cuda")
    expected, found = cpu.run(inputs), cuda.run(inputs)
    deviation = max(
        float(np.abs(found[name] - expected[name]).max()) / (high - low)
        for name, described in metadata.outputs.items()
        for low, high in [described.value_range]
    )
    shape = next(iter(expected.values())).shape
    return Comparison(
        metadata.name,
        deviation,
        metadata.golden.tolerance["cuda"],
        _best(lambda: cpu.run(inputs)),
        _best(lambda: cuda.run(inputs)),
        f"{shape[0]:,} voxels" if voxelwise else "x".join(map(str, shape)),
    )


def _best(task: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
