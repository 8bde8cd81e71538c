"""Times the whole adapted pipeline: ``python -m models.diffusion.timing --device cuda``.

From signals in memory to maps with their SD: plain fit, noise, prior with its seeds, posterior.
On a GPU the network runs through PyTorch.
"""

# ruff: noqa: T201 - a command that prints its figures
from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from models.diffusion.adapt import adapt
from models.diffusion.channels import DTI
from models.diffusion.linear_adaptation import LinearAdaptation
from models.diffusion.posterior import tensor_maps
from models.diffusion.prior import NETWORKS, RunNetwork, onnx_network, torch_network
from models.diffusion.series import Series
from models.diffusion.tensor_fit import TensorLeastSquares

_REPEATS = 3


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.diffusion.timing", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", type=Path, default=NETWORKS / "prior_dti" / "model.onnx")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    series = large_series()
    if device.type == "cpu":
        run = onnx_network(arguments.network, arguments.threads)
    else:
        from models.diffusion.network import PriorNetwork

        # Times do not depend on the weights.
        run = torch_network(PriorNetwork(DTI), device)
    size = f"{' x '.join(map(str, series.signals.shape))}, {int(series.brain.sum())} voxels"
    for _ in range(_REPEATS):
        print(f"plain tensor, {size}, {device}: {plain_seconds(series, device):.2f} s")
        print(f"adapted tensor, {size}, {device}: {adapted_seconds(series, run, device):.2f} s")


def adapted_seconds(series: Series, run: RunNetwork, device: torch.device | str = "cpu") -> float:
    """Seconds from signals to adapted maps with their SD."""
    began = time.perf_counter()
    voxel = tuple(series.voxel.tolist())
    problem = LinearAdaptation(
        series.signals, series.brain, series.b_values, series.directions, voxel, device
    )
    tensor_maps(adapt(problem, run))
    return time.perf_counter() - began


def plain_seconds(series: Series, device: torch.device | str = "cpu") -> float:
    """Seconds of a plain weighted fit."""
    began = time.perf_counter()
    signals = torch.from_numpy(series.signals[series.brain]).to(device)
    fit = TensorLeastSquares(series.b_values, series.directions).fit(signals)
    float(fit.s0.sum())
    return time.perf_counter() - began


def large_series(shape: tuple[int, int, int] = (60, 128, 128), volumes: int = 34) -> Series:
    """An ellipsoid of uniform anisotropic tissue with noise: 4 b0, the rest b = 1000."""
    generator = np.random.default_rng(0)
    g = generator.standard_normal((volumes, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    b = np.where(np.arange(volumes) < 4, 0.0, 1000.0)
    g[b == 0] = 0
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    slices, rows, columns = axes
    brain = (slices / 0.9) ** 2 + (rows / 0.85) ** 2 + (columns / 0.7) ** 2 < 1
    decay = np.exp(-b * (0.5e-3 + 0.8e-3 * g[:, 0] ** 2)).astype(np.float32)
    signals = np.empty((*shape, volumes), dtype=np.float32)
    for volume in range(volumes):
        noise = generator.standard_normal(shape, dtype=np.float32)
        signals[..., volume] = 500 * (brain * decay[volume] + 0.03 * noise)
    return Series(np.abs(signals), b, g, brain, np.array([2.5, 2.0, 2.0]))


if __name__ == "__main__":
    main()
