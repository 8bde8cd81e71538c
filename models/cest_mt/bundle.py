"""Network bundles: the ONNX file, its metadata in MONAI's style, and golden inputs and outputs."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models.cest_mt.export import (
    OPSET,
    VOXELS,
    export_parameter_network,
    export_signal_network,
    output_names,
)
from models.cest_mt.network import ParameterNetwork, SignalNetwork
from models.cest_mt.specification import NetworkSpecification, Range

NETWORKS = Path(__file__).with_name("networks")

_SIMULATED = "Bloch-McConnell simulation; no measured data"

BUNDLE_VERSION = "1.0.0"
TOLERANCE = {"cpu": 1e-4, "cuda": 2e-3}
"""Largest difference from the golden outputs, as a share of each output's range.

CUDA may multiply in TF32, which keeps ten bits of mantissa.
"""


def parameter_bundle(
    network: ParameterNetwork,
    signal: Tensor,
    conditions: Tensor,
    training: dict[str, Any],
    data_source: str = _SIMULATED,
) -> dict[str, Any]:
    """Collects the bundle of an estimator; see :func:`save`.

    Args:
        network: trained.
        signal: (voxels, images) golden input.
        conditions: (voxels, conditions) golden input, physical units.
        training: how it was trained and how well it does, for the metadata.
        data_source: what it was trained on.

    Returns:
        ``model`` (ONNX), ``metadata`` (without digest) and ``golden`` (arrays by name).
    """
    specification = network.specification
    with torch.no_grad():
        mean, sd = network.physical(signal, conditions)
    count = len(specification.parameters)
    answer = torch.cat([mean[:, :count], sd[:, :count], mean[:, count:]], dim=1)
    parameters, nuisances = specification.parameters, specification.nuisances
    ranges = [(q.lower, q.upper) for q in parameters]
    ranges += [(0.0, q.span / 2) for q in parameters]
    ranges += [(q.lower, q.upper) for q in nuisances]
    units = [q.unit for q in (*parameters, *parameters, *nuisances)]
    names = output_names(parameters, nuisances)
    return {
        "model": export_parameter_network(network),
        "metadata": _metadata(
            specification,
            specification.name,
            "voxelwise estimation of exchange parameters with standard deviations",
            inputs={
                "signal": _signal_entry(specification, "any positive", (0.0, 1e9)),
                **{q.name: _map_entry(q) for q in specification.conditions},
            },
            outputs={
                name: _entry("estimate", unit, bounds, 1)
                for name, unit, bounds in zip(names, units, ranges, strict=True)
            },
            training=training,
            data_source=data_source,
        ),
        "golden": {
            "input_signal": signal.numpy(),
            **{
                f"input_{q.name}": conditions[:, i : i + 1].numpy()
                for i, q in enumerate(specification.conditions)
            },
            **{f"output_{name}": answer[:, i : i + 1].numpy() for i, name in enumerate(names)},
        },
    }


def signal_bundle(
    network: SignalNetwork, values: Tensor, training: dict[str, Any]
) -> dict[str, Any]:
    """Collects the bundle of a simulator's surrogate; as :func:`parameter_bundle`."""
    specification = network.specification
    with torch.no_grad():
        signal = network(values)
    return {
        "model": export_signal_network(network),
        "metadata": _metadata(
            specification,
            f"{specification.name}_signal",
            "surrogate of the Bloch-McConnell simulation of the protocol",
            inputs={q.name: _map_entry(q) for q in specification.varied},
            outputs={"signal": _signal_entry(specification, "relative to M0", (0.0, 1.0))},
            training=training,
        ),
        "golden": {
            **{
                f"input_{q.name}": values[:, i : i + 1].numpy()
                for i, q in enumerate(specification.varied)
            },
            "output_signal": signal.numpy(),
        },
    }


def save(bundle: dict[str, Any], folder: Path) -> None:
    """Writes ``model.onnx``, ``golden.npz`` and, last, ``metadata.json`` with the digest."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(bundle["model"], folder / "model.onnx")
    np.savez_compressed(folder / "golden.npz", **bundle["golden"])
    metadata = dict(bundle["metadata"])
    metadata["model"] = {
        "file": "model.onnx",
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
    }
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    (folder / "metadata.json").write_text(text + "\n", encoding="utf-8")


def load_parameter_network(
    specification: NetworkSpecification, networks: Path = NETWORKS
) -> ParameterNetwork:
    """The estimator with the weights of its ONNX file, to be trained on.

    Args:
        specification: names the bundle, and says what the network looks like.
        networks: folder of the bundles.

    Raises:
        FileNotFoundError: there is no such bundle.
        ValueError: its network has another shape than the specification.
    """
    constants = _constants(networks / specification.name)
    network = ParameterNetwork(specification, constants["signal_mean"], constants["signal_sd"])
    _load_layers(network.layers, constants, networks / specification.name)
    return network.eval()


def load_signal_network(
    specification: NetworkSpecification, networks: Path = NETWORKS
) -> SignalNetwork:
    """The surrogate with the weights of its ONNX file; as :func:`load_parameter_network`."""
    constants = _constants(networks / f"{specification.name}_signal")
    network = SignalNetwork(specification, constants["signal_mean"], constants["signal_sd"])
    _load_layers(network.layers, constants, networks / f"{specification.name}_signal")
    return network.eval()


def _constants(folder: Path) -> dict[str, Tensor]:
    model = onnx.load(folder / "model.onnx")
    return {
        constant.name: torch.from_numpy(numpy_helper.to_array(constant).copy())
        for constant in model.graph.initializer
    }


def _load_layers(layers: nn.Sequential, constants: dict[str, Tensor], folder: Path) -> None:
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for index, layer in enumerate(linear):
            weight = constants.get(f"weight_{index}")
            if weight is None or weight.shape != layer.weight.shape:
                raise ValueError(
                    f"the network in {folder} has another shape than its specification: train "
                    "it anew"
                )
            layer.weight.copy_(weight)
            layer.bias.copy_(constants[f"bias_{index}"])


def _entry(kind: str, unit: str, bounds: tuple[float, float], size: int) -> dict[str, Any]:
    return {
        "type": "voxels",
        "format": kind,
        "modality": "MR",
        "num_channels": size,
        "spatial_shape": [VOXELS],
        "dtype": "float32",
        "value_range": list(bounds),
        "is_patch_data": False,
        "unit": unit,
        "shape": [VOXELS, size],
    }


def _map_entry(quantity: Range) -> dict[str, Any]:
    return _entry("quantity map", quantity.unit, (quantity.lower, quantity.upper), 1)


def _signal_entry(
    specification: NetworkSpecification, scale: str, bounds: tuple[float, float]
) -> dict[str, Any]:
    entry = _entry("magnitude", "1", bounds, specification.images)
    entry["scale"] = scale
    entry["channel_def"] = {str(i): f"image {i}" for i in range(specification.images)}
    return entry


def _metadata(
    specification: NetworkSpecification,
    name: str,
    task: str,
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    training: dict[str, Any],
    data_source: str = _SIMULATED,
) -> dict[str, Any]:
    return {
        "name": name,
        "version": BUNDLE_VERSION,
        "changelog": {BUNDLE_VERSION: "first release"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "task": task,
        "description": f"Multilayer perceptron, {specification.depth} hidden layers of "
        f"{specification.width} units, for the protocol {specification.protocol}. Every voxel "
        "is independent of the others.",
        "authors": "QuantMAP",
        "copyright": "QuantMAP authors",
        "intended_use": "Research. Not a medical device; see README.md of the model.",
        "data_source": data_source,
        "references": list(specification.references),
        "opset": OPSET,
        "protocol": specification.protocol,
        "network_data_format": {"inputs": inputs, "outputs": outputs},
        "golden": {"file": "golden.npz", "tolerance": TOLERANCE},
        "training": training,
    }
