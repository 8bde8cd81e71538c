"""Both CEST/MT networks over a whole brain: ONNX Runtime in our session beside torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from benchmarks.table import Row
from models.cest_mt.bundle import load_parameter_network
from models.cest_mt.network import ParameterNetwork
from models.cest_mt.specification import AMIDE_3T, MT_3T
from operators.inference.bundle import Bundle, load_bundles
from operators.inference.cores import available_cores
from operators.inference.onnx_session import CHUNK_VOXELS, OnnxSession

_MODELS = Path(__file__).resolve().parents[1] / "models"
_VOXELS = 500_000
_BOUND, _BOUND_CUDA = 1.0, 0.05
_REPEATS = 5

_Features = dict[str, np.ndarray]


def run() -> list[Row]:
    """Semisolid pool, then amide with what was found given, each with standard deviations.

    The peer is torch (eager, inference mode) with perceptrons of the same layers alone, in
    chunks of the same size: it neither checks nor normalises its inputs, as ours does. Where
    there is a CUDA device, our torch networks are timed there, transfers both ways included.
    """
    bundles = load_bundles(_MODELS, "cest_mt")
    stages = [bundles[one.name] for one in (MT_3T, AMIDE_3T)]
    features = [features_of(bundle, _VOXELS) for bundle in stages]
    sessions = [OnnxSession(bundle, "cpu") for bundle in stages]

    def ours() -> None:
        found = sessions[0].predict(features[0])
        given = {q.name: found[q.name] for q in MT_3T.parameters}
        sessions[1].predict(features[1] | given)

    networks = [plain_perceptron(bundle) for bundle in stages]
    inputs = [torch.from_numpy(np.concatenate(list(one.values()), axis=1)) for one in features]
    torch.set_num_threads(available_cores())

    def plain_torch() -> None:
        with torch.inference_mode():
            for network, values in zip(networks, inputs, strict=True):
                for chunk in values.split(CHUNK_VOXELS):
                    network(chunk)

    name = f"MT + amide with SD, {_VOXELS:,} voxels"
    seconds = _best(ours)
    rows = [
        Row(name, seconds, f"torch {torch.__version__}", _best(plain_torch)),
        Row(f"{name} (ONNX Runtime {onnxruntime.__version__})", seconds, "bound", _BOUND),
    ]
    if torch.cuda.is_available():
        there = {one.name: load_parameter_network(one).cuda() for one in (MT_3T, AMIDE_3T)}
        seconds = _best(lambda: _on_cuda(features, there))
        rows.append(Row(f"{name}, {torch.cuda.get_device_name()}", seconds, "bound", _BOUND_CUDA))
    return rows


def features_of(bundle: Bundle, voxels: int) -> _Features:
    """Inputs of a network, uniform over the ranges of its metadata: (voxels, channels) each."""
    generator = np.random.default_rng(0)
    return {
        name: generator.uniform(*tensor.value_range, (voxels, tensor.channels)).astype(np.float32)
        for name, tensor in bundle.metadata.inputs.items()
    }


def _on_cuda(features: list[_Features], networks: dict[str, ParameterNetwork]) -> None:
    given: list[torch.Tensor] = []
    for specification, arrays in zip((MT_3T, AMIDE_3T), features, strict=True):
        network = networks[specification.name]
        signal, *maps = (torch.from_numpy(arrays[name]).cuda() for name in arrays)
        conditions = torch.cat([*maps[:4], *given], dim=1)
        with torch.inference_mode():
            mean, sd = network.physical(signal, conditions)
        given = [mean]
        mean.cpu(), sd.cpu()


def plain_perceptron(bundle: Bundle) -> nn.Sequential:
    """Layers of the shipped network, with random weights."""
    specification = {one.name: one for one in (MT_3T, AMIDE_3T)}[bundle.metadata.name]
    inputs = sum(tensor.channels for tensor in bundle.metadata.inputs.values())
    sizes = [inputs, *[specification.width] * specification.depth]
    hidden = [
        layer
        for before, after in pairwise(sizes)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return nn.Sequential(*hidden, nn.Linear(specification.width, len(bundle.metadata.outputs)))


def _best(task: Callable[[], object]) -> float:
    """Shortest of several runs, after one to warm up; s."""
    task()
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return min(times)
