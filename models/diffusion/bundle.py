"""Writes a prior as a bundle: ONNX network, metadata in MONAI's style, golden values."""

from __future__ import annotations

import hashlib
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from models.diffusion.channels import Stack
from models.diffusion.network import SLICES, PriorNetwork
from models.diffusion.prior import INPUTS, OUTPUTS

OPSET = 18
BUNDLE_VERSION = "1.2.0"
CHANGELOG = {
    "1.0.0": "first release",
    "1.1.0": "trained further, on simulated sparse series fitted as the adaptation fits them",
    "1.2.0": "trained seven times as long, from the start; SD settled on fresh examples",
}
#: Largest difference from the golden outputs, as a share of each output's range.
TOLERANCE = {"cpu": 1e-4, "cuda": 5e-3}
_GOLDEN_SIZE = 32
_UNIT = "ln(S0 / reference): 1; diffusivities um2/ms; kurtosis terms um4/ms2"
_DYNAMIC = {0: "slices", -2: "rows", -1: "columns"}


def write_bundle(
    network: PriorNetwork, stack: Stack, folder: Path, training: dict[str, Any]
) -> Path:
    """Export a trained prior.

    Args:
        network: trained, on the CPU.
        stack: its channels.
        folder: where the bundle goes; the last part is its name.
        training: how it was trained, for the metadata.

    Returns:
        ``folder``, with ``model.onnx``, ``golden.npz`` and, written last, ``metadata.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = network.eval()
    golden = _golden(stack)
    tensors = tuple(torch.from_numpy(golden[name]) for name in INPUTS)
    with warnings.catch_warnings():
        # The exporter that succeeds this one needs a further package, onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        torch.onnx.export(
            network,
            tensors,
            str(folder / "model.onnx"),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamic_axes={
                name: {axis % tensor.ndim: label for axis, label in _DYNAMIC.items()}
                for name, tensor in (
                    *zip(INPUTS, tensors, strict=True),
                    *((name, tensors[1]) for name in OUTPUTS),
                )
            },
            dynamo=False,
        )
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    with torch.no_grad():
        answers = network(*tensors)
    arrays: dict[str, Any] = {f"input_{name}": golden[name] for name in INPUTS}
    arrays |= {
        f"output_{name}": value.numpy() for name, value in zip(OUTPUTS, answers, strict=True)
    }
    np.savez_compressed(folder / "golden.npz", **arrays)
    text = json.dumps(_metadata(stack, folder, training), indent=2, ensure_ascii=False)
    (folder / "metadata.json").write_text(text + "\n", encoding="utf-8")
    return folder


def _golden(stack: Stack) -> dict[str, np.ndarray]:
    """Random maps in a round brain."""
    generator = np.random.default_rng(0)
    size = _GOLDEN_SIZE
    row, column = np.ogrid[:size, :size]
    disc = np.hypot(row - size / 2, column - size / 2) < size * 0.4
    brain = np.broadcast_to(disc, (2, SLICES, size, size)).astype(np.float32).copy()
    brain[1, 0] = 0
    shape = (2, SLICES, len(stack), size, size)
    maps = stack.mean[:, None, None] + stack.spread[:, None, None] * generator.normal(0, 0.5, shape)
    sd = np.broadcast_to(0.2 * stack.spread[:, None, None], (2, len(stack), size, size))
    return {
        "maps": (maps * brain[:, :, None]).astype(np.float32),
        "sd": sd.astype(np.float32),
        "correlation": np.full((2, 1, size, size), 0.5, dtype=np.float32),
        "brain": brain,
    }


def _metadata(stack: Stack, folder: Path, training: dict[str, Any]) -> dict[str, Any]:
    channels = len(stack)
    ranges = {
        "maps": [-6.0, 8.0],
        "sd": [0.0, 3.0],
        "correlation": [-1.0, 1.0],
        "brain": [0.0, 1.0],
        "mean": [-6.0, 8.0],
        "posterior_sd": [0.0, 3.0],
    }
    shapes = {
        "maps": ["slices", SLICES, channels, "rows", "columns"],
        "correlation": ["slices", 1, "rows", "columns"],
        "brain": ["slices", SLICES, "rows", "columns"],
    }
    meaning = {
        "maps": "noisy maps of the slice below, the slice itself and the slice above; 0 outside",
        "sd": "standard deviation of the noise of each channel",
        "correlation": "correlation of the noise of ln S0 and of the isotropic diffusivity",
        "brain": "1 where there is brain; a slice that does not exist is 0",
        "mean": "posterior mean of the maps",
        "posterior_sd": "posterior standard deviation of the maps",
    }

    def entry(name: str) -> dict[str, Any]:
        return {
            "type": "image",
            "format": meaning[name],
            "modality": "MR",
            "num_channels": channels,
            "spatial_shape": ["16*n", "16*n"],
            "dtype": "float32",
            "value_range": ranges[name],
            "is_patch_data": False,
            "unit": _UNIT if name in ("maps", "sd", "mean", "posterior_sd") else "1",
            "shape": shapes.get(name, ["slices", channels, "rows", "columns"]),
            "channel_def": {str(i): channel for i, channel in enumerate(stack.channels)},
        }

    return {
        "name": folder.name,
        "version": BUNDLE_VERSION,
        "changelog": CHANGELOG,
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "task": "denoising of diffusion parameter maps at a given noise level",
        "description": "2.5-D U-Net (MONAI BasicUNet without normalisation), preconditioned for "
        "noise that differs between voxels and channels; gives posterior mean and SD.",
        "authors": "QuantMAP",
        "copyright": "QuantMAP authors",
        "intended_use": "Research. Not a medical device; see README.md of the model.",
        "data_source": "synthetic microstructure on the ICBM 152 tissue maps of nilearn and on "
        "the brain labels of MRiLab; maps fitted to dcm_qa_xa30 and dcm_qa_uih (BSD-2)",
        "data_type": "parameter maps",
        "references": ["doi:10.1109/TPAMI.2021.3088914", "arXiv:2206.00364"],
        "opset": OPSET,
        "protocol": "",
        "network_data_format": {
            "inputs": {name: entry(name) for name in INPUTS},
            "outputs": {name: entry(name) for name in OUTPUTS},
        },
        "golden": {"file": "golden.npz", "tolerance": TOLERANCE},
        "training": training,
        "model": {
            "file": "model.onnx",
            "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        },
    }
