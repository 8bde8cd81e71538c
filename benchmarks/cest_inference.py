"""A CEST network over a whole brain: ONNX Runtime in our session beside torch."""

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
from operators.inference.bundle import load_bundles
from operators.inference.cores import available_cores
from operators.inference.network_choice import SIGNAL
from operators.inference.onnx_session import CHUNK_VOXELS, OnnxSession

_MODELS = Path(__file__).resolve().parents[1] / "models"
_VOXELS = 500_000
_BOUND = 0.6
_REPEATS = 5


def run() -> list[Row]:
    """The estimator with the most inputs among the installed bundles; nothing without one.

    The peer is torch (eager, inference mode) with a perceptron of the same layers alone, in
    chunks of the same size: it neither checks nor normalises its inputs, as ours does.
    """
    bundles = load_bundles(_MODELS, "cest_mt").values()
    estimators = [one for one in bundles if SIGNAL in one.metadata.inputs]
    if not estimators:
        return []
    bundle = max(estimators, key=lambda one: len(one.metadata.inputs))
    generator = np.random.default_rng(0)
    features = {
        name: generator.uniform(*tensor.value_range, (_VOXELS, tensor.channels)).astype(np.float32)
        for name, tensor in bundle.metadata.inputs.items()
    }
    session = OnnxSession(bundle, "cpu")
    ours = _best(lambda: session.predict(features))
    name = f"{bundle.metadata.name}, {_VOXELS:,} voxels"

    inputs = torch.from_numpy(np.concatenate(list(features.values()), axis=1))
    outputs = sum(tensor.channels for tensor in bundle.metadata.outputs.values())
    network = _perceptron(inputs.shape[1], outputs)
    torch.set_num_threads(available_cores())

    def plain_torch() -> None:
        with torch.inference_mode():
            for chunk in inputs.split(CHUNK_VOXELS):
                network(chunk)

    return [
        Row(name, ours, f"torch {torch.__version__}", _best(plain_torch)),
        Row(f"{name} (ONNX Runtime {onnxruntime.__version__})", ours, "bound", _BOUND),
    ]


def _perceptron(inputs: int, outputs: int, width: int = 256, depth: int = 3) -> nn.Sequential:
    """Layers of the shipped networks, with random weights."""
    sizes = [inputs, *[width] * depth]
    hidden = [
        layer
        for before, after in pairwise(sizes)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


def _best(task: Callable[[], object]) -> float:
    """Shortest of several runs, after one to warm up; s."""
    task()
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return min(times)
