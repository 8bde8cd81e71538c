"""Small ONNX networks with known answers, written as bundles."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from operators.inference.bundle import Bundle, read_bundle

Ranges = dict[str, tuple[int, str, tuple[float, float]]]


def write_bundle(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: Ranges,
    outputs: Ranges,
    constants: dict[str, Any] | None = None,
    golden: dict[str, np.ndarray] | None = None,
    **metadata: Any,
) -> Path:
    """Writes a bundle; inputs and outputs are name -> (channels, unit, (low, high))."""
    folder.mkdir(parents=True)

    def values(described: Ranges) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["voxels", channels])
            for name, (channels, _, _) in described.items()
        ]

    def entries(described: Ranges) -> dict[str, Any]:
        return {
            name: {"dtype": "float32", "unit": unit, "value_range": bounds, "shape": ["voxels", n]}
            for name, (n, unit, bounds) in described.items()
        }

    graph = helper.make_graph(
        nodes,
        "toy",
        values(inputs),
        values(outputs),
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in (constants or {}).items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    described: dict[str, Any] = {
        "name": folder.name,
        "version": "1.0.0",
        "model": {
            "file": "model.onnx",
            "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        },
        "network_data_format": {"inputs": entries(inputs), "outputs": entries(outputs)},
    }
    if golden is not None:
        np.savez(folder / "golden.npz", **golden)
        described["golden"] = {"file": "golden.npz", "tolerance": {"cpu": 1e-6, "cuda": 1e-3}}
    (folder / "metadata.json").write_text(json.dumps(described | metadata))
    return folder


def doubling(folder: Path, golden_factor: float | None = 2.0, **metadata: Any) -> Path:
    """``y = 2 x`` of three channels, range 0 to 10, in ms."""
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    golden = None if golden_factor is None else {"input_x": x, "output_y": golden_factor * x}
    return write_bundle(
        folder,
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        {"x": (3, "ms", (0.0, 10.0))},
        {"y": (3, "ms", (0.0, 20.0))},
        {"two": np.float32(2)},
        golden,
        **metadata,
    )


def toy_mt(folder: Path, images: int, protocol: str = "mrf_mt_3t") -> Path:
    """f_ss = 20 (1 - last / first image) %, k_ssw = 40 /s times B1; SDs of 1 % and 2 /s.

    T1, T2 and the B0 shift are taken and left alone.
    """
    nodes = [
        helper.make_node("Gather", ["signal", "first"], ["m0"], axis=1),
        helper.make_node("Gather", ["signal", "last"], ["saturated"], axis=1),
        helper.make_node("Div", ["saturated", "m0"], ["z"]),
        helper.make_node("Sub", ["one", "z"], ["mtr"]),
        helper.make_node("Mul", ["mtr", "twenty"], ["mt_fraction"]),
        helper.make_node("Mul", ["b1_scale", "forty"], ["mt_exchange_rate"]),
        *_unused("t1", "t2", "b0_shift"),
        helper.make_node("Add", ["nothing", "one"], ["mt_fraction_sd"]),
        helper.make_node("Add", ["nothing", "two"], ["mt_exchange_rate_sd"]),
    ]
    return write_bundle(
        folder,
        nodes,
        {"signal": (images, "1", (0.0, 1e9)), **_CONDITIONS},
        {
            "mt_fraction": (1, "%", (0.0, 30.0)),
            "mt_exchange_rate": (1, "/s", (5.0, 100.0)),
            "mt_fraction_sd": (1, "%", (0.0, 15.0)),
            "mt_exchange_rate_sd": (1, "/s", (0.0, 47.5)),
        },
        {
            "first": np.array([0], np.int64),
            "last": np.array([images - 1], np.int64),
            "one": np.float32(1),
            "two": np.float32(2),
            "twenty": np.float32(20),
            "forty": np.float32(40),
            "zero": np.float32(0),
        },
        protocol=protocol,
        references=["doi 10.1/toy"],
    )


def toy_mt_signal(folder: Path, images: int, protocol: str = "mrf_mt_3t") -> Path:
    """The signal of :func:`toy_mt`: 1 in every image but the last, which is 1 - f_ss / 20."""
    nodes = [
        helper.make_node("Div", ["mt_fraction", "twenty"], ["mtr"]),
        helper.make_node("Mul", ["mtr", "where"], ["loss"]),
        *_unused("t1", "t2", "b0_shift", "b1_scale", "mt_exchange_rate"),
        helper.make_node("Sub", ["one", "loss"], ["full"]),
        helper.make_node("Add", ["full", "nothing"], ["signal"]),
    ]
    where = np.zeros((1, images), np.float32)
    where[0, -1] = 1
    return write_bundle(
        folder,
        nodes,
        {
            "mt_fraction": (1, "%", (0.0, 30.0)),
            "mt_exchange_rate": (1, "/s", (5.0, 100.0)),
            **_CONDITIONS,
        },
        {"signal": (images, "1", (0.0, 1.0))},
        {
            "twenty": np.float32(20),
            "one": np.float32(1),
            "where": where,
            "zero": np.float32(0),
        },
        protocol=protocol,
    )


def toy_amide(folder: Path, images: int, protocol: str = "mrf_amide_3t") -> Path:
    """f_s = f_ss / 100 %, k_sw = 5 k_ssw: whatever the MT stage said."""
    nodes = [
        helper.make_node("ReduceSum", ["signal", "axes"], ["all"], keepdims=1),
        helper.make_node("Mul", ["all", "zero"], ["nothing"]),
        helper.make_node("Mul", ["mt_fraction", "hundredth"], ["f"]),
        helper.make_node("Add", ["f", "nothing"], ["solute_fraction"]),
        helper.make_node("Mul", ["mt_exchange_rate", "five"], ["solute_exchange_rate"]),
    ]
    return write_bundle(
        folder,
        nodes,
        {
            "signal": (images, "1", (0.0, 1e9)),
            "mt_fraction": (1, "%", (0.0, 30.0)),
            "mt_exchange_rate": (1, "/s", (5.0, 100.0)),
        },
        {"solute_fraction": (1, "%", (0.0, 1.0)), "solute_exchange_rate": (1, "/s", (5.0, 500.0))},
        {
            "axes": np.array([1], np.int64),
            "zero": np.float32(0),
            "hundredth": np.float32(0.01),
            "five": np.float32(5),
        },
        protocol=protocol,
    )


def bundles_of(*folders: Path) -> dict[str, Bundle]:
    """Bundles by name."""
    return {folder.name: read_bundle(folder) for folder in folders}


_CONDITIONS: Ranges = {
    "t1": (1, "ms", (400.0, 4500.0)),
    "t2": (1, "ms", (20.0, 2000.0)),
    "b0_shift": (1, "[ppm]", (-0.8, 0.8)),
    "b1_scale": (1, "1", (0.5, 1.5)),
}


def _unused(*names: str) -> list[onnx.NodeProto]:
    """Nodes that take inputs and make ``nothing``, zeros, of them; needs ``zero``."""
    return [
        helper.make_node("Sum", list(names), ["sum_of_unused"]),
        helper.make_node("Mul", ["sum_of_unused", "zero"], ["nothing"]),
    ]
