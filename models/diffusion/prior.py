"""The prior at run time: a denoiser of parameter maps behind ONNX Runtime, and its inputs.

Noise of a least-squares fit has a covariance in each voxel. The denoiser is told the standard
deviation of every channel and the correlation of ln S0 with the isotropic part of the tensor, so
that it needs no retraining for another gradient table.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

#: Networks that ship, one folder each.
NETWORKS = Path(__file__).with_name("networks")
#: The network halves the grid four times.
GRID_MULTIPLE = 16

#: Runs the network on a batch of slices: maps (batch, 3, channels, rows, columns), their SD
#: (batch, channels, rows, columns), correlation (batch, 1, rows, columns) and brain (batch, 3,
#: rows, columns) to mean and SD (batch, channels, rows, columns), all float32.
RunNetwork = Callable[
    [np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]
]

INPUTS = ("maps", "sd", "correlation", "brain")
OUTPUTS = ("mean", "posterior_sd")


def onnx_network(path: Path, threads: int = 0) -> RunNetwork:
    """The network in a file, on the CPU through ONNX Runtime.

    Args:
        path: ``model.onnx``.
        threads: number of threads; 0 leaves it to ONNX Runtime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(
        maps: np.ndarray, sd: np.ndarray, correlation: np.ndarray, brain: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        inputs = dict(zip(INPUTS, (maps, sd, correlation, brain), strict=True))
        mean, posterior = session.run(list(OUTPUTS), inputs)
        return mean, posterior

    return run


def torch_network(network: torch.nn.Module, device: torch.device | str) -> RunNetwork:
    """A network in PyTorch on any device, for where ONNX Runtime has no provider for it.

    Args:
        network: as ``network.PriorNetwork``, trained.
        device: where it runs.
    """
    network = network.to(device).eval()

    def run(
        maps: np.ndarray, sd: np.ndarray, correlation: np.ndarray, brain: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        inputs = [torch.from_numpy(x).to(device) for x in (maps, sd, correlation, brain)]
        with torch.inference_mode():
            mean, posterior = network(*inputs)
        return mean.cpu().numpy(), posterior.cpu().numpy()

    return run


def correlation_with_s0(covariance: Tensor) -> Tensor:
    """Correlation of the error of ln S0 with that of the isotropic part of the tensor.

    Args:
        covariance: (voxels, channels, channels) of a stack that starts with ln S0 and a tensor.

    Returns:
        (voxels,).
    """
    isotropic = covariance[:, 1:4, 1:4].sum(dim=(1, 2))
    return covariance[:, 0, 1:4].sum(dim=1) / torch.sqrt(isotropic * covariance[:, 0, 0])


def denoise(
    run: RunNetwork,
    maps: np.ndarray,
    sd: np.ndarray,
    correlation: np.ndarray,
    brain: np.ndarray,
    batch: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Denoise every slice of a volume, in batches of bounded memory.

    Args:
        run: the network.
        maps: float32 (channels, slices, rows, columns).
        sd: float32, same shape.
        correlation: float32 (slices, rows, columns).
        brain: bool (slices, rows, columns).
        batch: slices at a time.

    Returns:
        Posterior mean and SD, float32, shape of ``maps``.
    """
    slices, rows, columns = brain.shape
    padding = [(0, -rows % GRID_MULTIPLE), (0, -columns % GRID_MULTIPLE)]
    inside = np.pad(brain.astype(np.float32), [(1, 1), *padding])
    state = np.pad(maps.astype(np.float32) * brain, [(0, 0), (1, 1), *padding])
    level = np.pad(sd.astype(np.float32), [(0, 0), (0, 0), *padding], mode="edge")
    related = np.pad(correlation.astype(np.float32), [(0, 0), *padding])
    mean, posterior = np.empty_like(maps, dtype=np.float32), np.empty_like(maps, dtype=np.float32)
    for first in range(0, slices, batch):
        last = min(first + batch, slices)
        around = np.arange(first, last)[:, None] + np.arange(3)
        answers = run(
            np.ascontiguousarray(state[:, around].transpose(1, 2, 0, 3, 4)),
            np.ascontiguousarray(level[:, first:last].swapaxes(0, 1)),
            related[first:last, None],
            inside[around],
        )
        for whole, part in zip((mean, posterior), answers, strict=True):
            whole[:, first:last] = part[..., :rows, :columns].swapaxes(0, 1)
    return mean, posterior
