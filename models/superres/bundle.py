"""The network as ONNX, its metadata in MONAI's style, and a golden input and output."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
from torch import Tensor

from models.superres.network import LOWER, UPPER, Evidence, UpdateNetwork

FOLDER = Path(__file__).parent / "networks" / "superres"
"""Where the bundle ships: ``model.onnx``, ``metadata.json`` and ``golden.npz``."""

OPSET = 18
BUNDLE_VERSION = "1.3.0"
CHANGELOG = {
    "1.0.0": "first release",
    "1.1.0": "trained further, until the learning rate had fallen",
    "1.2.0": "trained further, with the loss summed over guides",
    "1.3.0": "trained anew in one run: consistency summed over maps, voxels average signals",
}
TOLERANCE = {"cpu": 1e-5, "cuda": 2e-3}
"""Largest difference from the golden output, as a share of each map's range.

CUDA may multiply in TF32, which keeps ten bits of mantissa.
"""

SLICES = "images"
ROWS = "rows"
COLUMNS = "columns"
CHUNK = 4
"""Slices given to the network at once: 256×256 slices then stay below 1 GB."""

_CHANNELS = {
    "maps": ("quantity map", (3,)),
    "interpolated": ("quantity map", (3,)),
    "map_residual": ("quantity map", (3,)),
    "guides": ("magnitude", (2,)),
    "synthetic": ("magnitude", (2,)),
    "sensitivities": ("magnitude", (2, 3)),
    "mask": ("segmentation", (1,)),
}
_UNITS = {
    "maps": "1, ms, ms",
    "interpolated": "1, ms, ms",
    "map_residual": "1, ms, ms",
    "guides": "proton density",
    "synthetic": "proton density",
    "sensitivities": "proton density",
    "noise": "proton density",
    "mask": "1",
    "factor": "1",
}
_RANGES = {
    "maps": (0.0, 5000.0),
    "interpolated": (-5000.0, 10000.0),
    "map_residual": (-5000.0, 5000.0),
    "guides": (0.0, 1.5),
    "synthetic": (0.0, 1.5),
    "sensitivities": (-3.0, 3.0),
    "noise": (0.0, 1.0),
    "mask": (0.0, 1.0),
    "factor": (1.0, 5.0),
}
_MAP_CHANNELS = {"0": "proton_density", "1": "t1", "2": "t2"}
_GUIDE_CHANNELS = {"0": "T1w", "1": "T2w"}


def session_step(
    session: onnxruntime.InferenceSession, chunk: int = CHUNK
) -> Callable[[Evidence], Tensor]:
    """A learned step through ONNX Runtime, a few slices at a time.

    Args:
        session: of ``model.onnx``.
        chunk: slices at once.

    Returns:
        function from evidence to maps (images, 3, rows, columns).
    """

    def step(told: Evidence) -> Tensor:
        results = []
        for start in range(0, len(told.maps), chunk):
            inputs = {
                name: np.ascontiguousarray(value[start : start + chunk].numpy())
                for name, value in told._asdict().items()
            }
            results.append(torch.from_numpy(session.run(["updated_maps"], inputs)[0]))
        return torch.cat(results)

    return step


def open_session(
    path: Path = FOLDER / "model.onnx", threads: int = 0
) -> onnxruntime.InferenceSession:
    """CPU session of the network; ``threads`` of 0 leaves their number to ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def load_network(path: Path = FOLDER / "model.onnx") -> UpdateNetwork:
    """The network of an ONNX file that ``export`` wrote, to continue its training.

    Args:
        path: of the file.
    """
    weights = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(path).graph.initializer
    }
    # The exporter folds the shape of these two into them and numbers them as they are used.
    folded = sorted((name for name in weights if name.startswith("onnx::")), key=_number)
    for name, other in zip(("guide_weight", "map_weight"), folded, strict=True):
        weights[name] = weights.pop(other).flatten()
    blocks = len({name.split(".")[1] for name in weights if name.startswith("body.")})
    network = UpdateNetwork(len(weights["head.bias"]), blocks)
    network.load_state_dict(weights)
    return network.eval()


def _number(name: str) -> int:
    return int(name.rsplit("_", 1)[1])


def export(network: UpdateNetwork, example: Evidence, path: Path) -> None:
    """Writes the network as ONNX, any number of slices of any size.

    Args:
        network: trained.
        example: evidence on slices to trace with.
        path: of the file.
    """
    network.eval()
    planes = {0: SLICES, 2: ROWS, 3: COLUMNS}
    axes: dict[str, dict[int, str]] = dict.fromkeys(Evidence._fields, planes)
    axes["sensitivities"] = {0: SLICES, 3: ROWS, 4: COLUMNS}
    axes["noise"] = axes["factor"] = {0: SLICES}
    axes["updated_maps"] = planes
    with warnings.catch_warnings():
        # The tracing exporter needs no further package; what it warns of is its age.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(example),
            str(path),
            input_names=list(Evidence._fields),
            output_names=["updated_maps"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def save(network: UpdateNetwork, example: Evidence, training: dict[str, Any], folder: Path) -> None:
    """Writes ``model.onnx``, ``golden.npz`` and, last, ``metadata.json`` with the digest.

    Args:
        network: trained.
        example: evidence on slices; it and the network's answer are the golden sample.
        training: how it was trained and how well it does, for the metadata.
        folder: where to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export(network, example, folder / "model.onnx")
    with torch.no_grad():
        answer = network(*example)
    golden = {f"input_{name}": value.numpy() for name, value in example._asdict().items()}
    np.savez_compressed(folder / "golden.npz", **golden, output_updated_maps=answer.numpy())
    metadata = _metadata(network, training)
    metadata["model"] = {
        "file": "model.onnx",
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
    }
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    (folder / "metadata.json").write_text(text + "\n", encoding="utf-8")


def _entry(name: str) -> dict[str, Any]:
    kind, channels = _CHANNELS.get(name, ("scalar", (2,) if name == "noise" else (1,)))
    planes = [ROWS, COLUMNS] if name in _CHANNELS else []
    entry: dict[str, Any] = {
        "type": "image" if planes else "scalar",
        "format": kind,
        "modality": "MR",
        "num_channels": int(np.prod(channels)),
        "spatial_shape": planes,
        "dtype": "float32",
        "value_range": list(_RANGES[name]),
        "is_patch_data": False,
        "unit": _UNITS[name],
        "shape": [SLICES, *channels, *planes],
    }
    if name in ("maps", "interpolated", "map_residual"):
        entry["channel_def"] = _MAP_CHANNELS
    elif name in ("guides", "synthetic", "sensitivities", "noise"):
        entry["channel_def"] = _GUIDE_CHANNELS
    return entry


def _metadata(network: UpdateNetwork, training: dict[str, Any]) -> dict[str, Any]:
    bounds = [list(pair) for pair in zip(LOWER, UPPER, strict=True)]
    output = _entry("maps") | {"channel_value_range": bounds}
    return {
        "name": "superres",
        "version": BUNDLE_VERSION,
        "changelog": CHANGELOG,
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "task": "one learned step of guided super-resolution of PD, T1 and T2 maps",
        "description": f"Residual network, {network.blocks} blocks of {network.channels} channels "
        "without normalisation layers, on what the signal equations say about each voxel. "
        "models/superres/reconstruction.py applies it.",
        "authors": "QuantMAP",
        "copyright": "QuantMAP authors",
        "intended_use": "Research. Not a medical device; see README.md of the model.",
        "data_source": "phantoms; no measured data",
        "data_type": "signal equations and k-space truncation of anatomical phantoms",
        "references": [
            "arXiv 2512.17612",
            "doi 10.1109/CVPRW.2017.151",
            "doi 10.1088/1361-6420/aa9581",
        ],
        "opset": OPSET,
        "network_data_format": {
            "inputs": {name: _entry(name) for name in Evidence._fields},
            "outputs": {"updated_maps": output},
        },
        "golden": {"file": "golden.npz", "tolerance": TOLERANCE},
        "training": training,
    }
