"""One training of a prior: slabs in, denoiser out. The command line is ``train``."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.diffusion.channels import DTI
from models.diffusion.degradation import Noisy, Tables, fit_noise, turn, turn_noisy, vary
from models.diffusion.network import PriorNetwork
from models.diffusion.random_draws import RandomDraws
from models.diffusion.training_slabs import Slabs

_WINDOW = 64
_WARM_UP = 200
_LONGEST_MEMORY = 0.999
_STEPS_BETWEEN_LOSSES = 10
_LARGEST_SQUARE = 100.0
# A batch costs more to simulate than to learn from, so it stays in a pool for as many steps as the
# pool has batches, one of which is renewed every so many steps. Each use is turned anew.
_POOL_BATCHES = 12
_STEPS_PER_BATCH = 4
# Batches from which the deviations are settled, and the share of errors within one of them.
_BATCHES_TO_SETTLE = 48
_WITHIN_ONE_SD = 0.6827
# Presence of the slice below and of the slice above, and how often.
_PRESENCE = ((0, 0), (0, 1), (1, 0), (1, 1))
_PRESENCE_SHARES = (0.45, 0.1, 0.1, 0.35)


@dataclass
class Progress:
    """State of a training that survives an interruption.

    Attributes:
        network: what is trained.
        average: exponential moving average of its weights; this is what ships.
        optimiser: AdamW.
        step: steps done.
        seconds: time spent on them.
        losses: (square error, negative log likelihood) of every tenth step.
    """

    network: PriorNetwork
    average: PriorNetwork
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[float, float]] = field(default_factory=list)


def start(rate: float, device: torch.device, seed: int) -> Progress:
    """A fresh training of the prior of the DTI stack."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    network = PriorNetwork(DTI).to(device)
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=rate, weight_decay=1e-4, betas=(0.9, 0.98)
    )
    return Progress(network, copy.deepcopy(network), optimiser)


def start_from(progress: Progress, model: Path) -> None:
    """Take the weights of an exported network of the same architecture.

    Args:
        progress: a fresh training.
        model: ``model.onnx`` of a bundle.
    """
    import onnx

    found = {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(model).graph.initializer
    }
    for network in (progress.network, progress.average):
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.as_tensor(found[name].copy()))


def save(progress: Progress, path: Path) -> None:
    """Write a checkpoint; a run that is cut short while writing keeps the last one."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "network": progress.network.state_dict(),
            "average": progress.average.state_dict(),
            "optimiser": progress.optimiser.state_dict(),
            "step": progress.step,
            "seconds": progress.seconds,
            "losses": progress.losses,
        },
        partial,
    )
    partial.replace(path)


def resume(progress: Progress, path: Path) -> None:
    """Continue from a checkpoint."""
    found: dict[str, Any] = torch.load(path, weights_only=True)
    progress.network.load_state_dict(found["network"])
    progress.average.load_state_dict(found["average"])
    progress.optimiser.load_state_dict(found["optimiser"])
    progress.step, progress.seconds = found["step"], found["seconds"]
    progress.losses = [(float(a), float(b)) for a, b in found["losses"]]


def train(
    progress: Progress,
    slabs: Slabs,
    *,
    seconds: float,
    batch: int,
    rate: float,
    seed: int,
) -> Iterator[Progress]:
    """Train until ``seconds`` have been spent in all; yields after every step.

    The learning rate warms up, then falls along a cosine to 2 % at the end. Convolutions run in
    bfloat16, everything else in float32. Slabs, network and examples are on one device.
    """
    device = next(progress.network.parameters()).device
    draws = RandomDraws(seed + 1_000_003 * progress.step, device)
    pool = Pool(Examples(slabs, batch, draws), draws)
    while progress.seconds < seconds:
        began = time.perf_counter()
        fraction = min(1.0, progress.seconds / seconds)
        scale = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction))
        for group in progress.optimiser.param_groups:
            group["lr"] = rate * min(1.0, (progress.step + 1) / _WARM_UP) * scale
        square, likelihood = losses(progress.network, *pool.draw())
        progress.optimiser.zero_grad()
        (square + 0.2 * likelihood).backward()
        torch.nn.utils.clip_grad_norm_(progress.network.parameters(), 1.0)
        progress.optimiser.step()
        progress.step += 1
        keep = min(_LONGEST_MEMORY, (progress.step + 1) / (progress.step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(progress.average.parameters()), list(progress.network.parameters()), 1 - keep
            )
        # Reading a loss waits for the device, so that only every so many steps are read.
        if (progress.step - 1) % _STEPS_BETWEEN_LOSSES == 0:
            found = torch.stack((square, likelihood)).detach().tolist()
            progress.losses.append((found[0], found[1]))
        progress.seconds += time.perf_counter() - began
        yield progress


class Examples:
    """Batches of clean maps, noisy maps, and the brain.

    Args:
        slabs: clean maps, on the device of ``draws``.
        batch: windows of a batch.
        draws: source of random numbers.
    """

    def __init__(self, slabs: Slabs, batch: int, draws: RandomDraws) -> None:
        self._slabs, self._batch, self._draws = slabs, batch, draws
        self._tables = Tables(draws)
        middle = slabs.brain[:, slabs.brain.shape[1] // 2]
        self._bounds = [_extent(middle.any(dim=other)) for other in (2, 1)]

    def draw(self) -> tuple[Tensor, Noisy, Tensor]:
        """The next batch: clean and noisy (batch, channels, 3, rows, columns), and brain."""
        draws = self._draws
        chosen = draws.integers(0, len(self._slabs.maps), self._batch)
        starts = []
        for (first, last), extent in zip(self._bounds, self._slabs.maps.shape[-2:], strict=True):
            inside = draws.uniform(0, 1, self._batch)
            centre = first[chosen] + inside * (last[chosen] - first[chosen])
            start = centre - draws.uniform(0, 1, self._batch) * _WINDOW
            starts.append(start.round().long().clamp(0, extent - _WINDOW).tolist())
        windows = [
            (number, ..., slice(top, top + _WINDOW), slice(left, left + _WINDOW))
            for number, top, left in zip(chosen.tolist(), *starts, strict=True)
        ]
        clean = torch.stack([self._slabs.maps[window] for window in windows]).float()
        brain = torch.stack([self._slabs.brain[window] for window in windows]).float()
        clean, brain = turn(clean, brain, draws)
        clean = vary(clean, brain, draws)
        return clean, fit_noise(clean, self._tables, draws), brain


class Pool:
    """Examples that are used several times, each time mirrored and transposed anew.

    Args:
        examples: where new ones come from.
        draws: source of random numbers.
    """

    def __init__(self, examples: Examples, draws: RandomDraws) -> None:
        self._examples, self._draws = examples, draws
        self._batches: list[tuple[Tensor, ...]] = []
        self._steps = 0
        self._presence = torch.tensor(_PRESENCE, dtype=torch.float32, device=draws.device)
        self._shares = torch.tensor(_PRESENCE_SHARES, device=draws.device)

    def draw(self) -> tuple[Tensor, Noisy, Tensor]:
        """A batch from the pool: clean, noisy, and the brain with absent neighbours left out."""
        if self._steps % _STEPS_PER_BATCH == 0:
            clean, noisy, brain = self._examples.draw()
            self._batches.append((clean, noisy.maps, noisy.sd, noisy.correlation, brain))
            self._batches = self._batches[-_POOL_BATCHES:]
        self._steps += 1
        size = len(self._batches[0][0])
        chosen = self._draws.integers(0, size * len(self._batches), size).tolist()
        clean, maps, sd, correlation, brain = (
            torch.stack([self._batches[i // size][part][i % size] for i in chosen])
            for part in range(5)
        )
        clean, noisy, brain = turn_noisy(clean, Noisy(maps, sd, correlation), brain, self._draws)
        which = torch.multinomial(
            self._shares, size, replacement=True, generator=self._draws.generator
        )
        presence = self._presence[which]
        brain[:, 0] *= presence[:, 0, None, None]
        brain[:, 2] *= presence[:, 1, None, None]
        return clean, noisy, brain


def _extent(filled: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true element of each row of a (slabs, length) tensor."""
    number = torch.arange(filled.shape[1], device=filled.device)
    first = torch.where(filled, number, filled.shape[1]).amin(dim=1)
    return first, torch.where(filled, number, -1).amax(dim=1)


def losses(
    network: PriorNetwork, clean: Tensor, noisy: Noisy, brain: Tensor
) -> tuple[Tensor, Tensor]:
    """Square error and negative log likelihood of the middle slice, over the brain.

    Errors count relative to what one unit of the network's output moves (Karras et al. 2022),
    so that every level of noise has the same weight. The likelihood teaches the SD alone.
    """
    maps = noisy.maps.transpose(1, 2) * brain[:, :, None]
    sd = noisy.sd[:, :, 1]
    with torch.autocast(clean.device.type, torch.bfloat16):
        mean, posterior = network(maps, sd, noisy.correlation[:, None, 1], brain)
    reach = sd * network.spread / torch.sqrt(network.spread**2 + sd**2)
    error = (mean - clean[:, :, 1]) / reach
    log_sd = torch.log(posterior / reach)
    weight = brain[:, 1:2] / (brain[:, 1].sum().clamp(min=1) * clean.shape[1])
    square = (error.square().clamp(max=_LARGEST_SQUARE) * weight).sum()
    fixed = error.detach().square().clamp(max=_LARGEST_SQUARE)
    likelihood = ((log_sd + 0.5 * fixed * torch.exp(-2 * log_sd)) * weight).sum()
    return square, likelihood


def settle_deviations(network: PriorNetwork, examples: Examples) -> Tensor:
    """Scale the predicted SD so that 68 % of the errors lie within, in place.

    Errors have heavier tails than a normal distribution, so that the SD which suits them best
    as a whole is too wide for most voxels.

    Args:
        network: trained.
        examples: fresh ones.

    Returns:
        (channels,) by how much the SD of each channel was multiplied.
    """
    channels = network.channels
    ratios: list[list[Tensor]] = [[] for _ in range(channels)]
    for _ in range(_BATCHES_TO_SETTLE):
        clean, noisy, brain = examples.draw()
        maps = noisy.maps.transpose(1, 2) * brain[:, :, None]
        with torch.no_grad():
            mean, posterior = network(maps, noisy.sd[:, :, 1], noisy.correlation[:, None, 1], brain)
        ratio = ((mean - clean[:, :, 1]).abs() / posterior).movedim(1, 0)
        for found, one in zip(ratios, ratio[:, brain[:, 1] > 0], strict=True):
            found.append(one)
    factors = torch.stack(
        [
            torch.cat(found).sort().values[int(_WITHIN_ONE_SD * sum(map(len, found)))]
            for found in ratios
        ]
    )
    bias = network.unet.final_conv.bias
    assert bias is not None
    with torch.no_grad():
        bias[channels:] += factors.log()
    return factors
