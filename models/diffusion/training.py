"""One training of a prior: slabs in, denoiser out. The command line is ``train``."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.diffusion.channels import Stack
from models.diffusion.degradation import Noisy, crop, fit_noise, free_noise, turn, vary
from models.diffusion.network import PriorNetwork
from models.diffusion.phantom import load_anatomies
from models.diffusion.training_maps import real_maps, real_slab, synthetic_slab

_WINDOW = 64
_FIT_NOISE_SHARE = 0.75
_WARM_UP = 150
_LARGEST_SQUARE = 100.0
_SMALLEST_BRAIN = 0.12
# Presence of the slice below and of the slice above, and how often.
_PRESENCE = ((0, 0), (0, 1), (1, 0), (1, 1))
_PRESENCE_SHARES = (0.45, 0.1, 0.1, 0.35)


@dataclass
class Slabs:
    """Clean maps to train on.

    Attributes:
        maps: float16 (slabs, channels, slices, rows, columns).
        brain: bool (slabs, slices, rows, columns).
    """

    maps: Tensor
    brain: Tensor


@dataclass
class Progress:
    """State of a training that survives an interruption.

    Attributes:
        network: what is trained.
        average: exponential moving average of its weights; this is what ships.
        optimiser: AdamW.
        step: steps done.
        seconds: time spent on them.
        losses: (square error, negative log likelihood) of each step.
    """

    network: PriorNetwork
    average: PriorNetwork
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[float, float]] = field(default_factory=list)


def make_slabs(
    stack: Stack, synthetic: int, real: int, data: Path, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Synthetic slabs, then slabs of the real training series; channels and brain of each."""
    generator = np.random.default_rng(seed)
    anatomies = load_anatomies(data)
    sources = real_maps(data) if real else []
    weights = np.array([source.brain.sum() for source in sources], dtype=float)
    for number in range(synthetic + real):
        while True:
            if number < synthetic:
                maps, brain = synthetic_slab(stack, anatomies, generator)
            else:
                which = generator.choice(len(sources), p=weights / weights.sum())
                maps, brain = real_slab(sources[which], generator)
            if brain[brain.shape[0] // 2].mean() > _SMALLEST_BRAIN:
                break
        yield maps.astype(np.float16), brain


def start(stack: Stack, rate: float, device: torch.device, seed: int) -> Progress:
    """A fresh training."""
    torch.manual_seed(seed)
    network = PriorNetwork(stack).to(device)
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=rate, weight_decay=1e-4, betas=(0.9, 0.98)
    )
    return Progress(network, copy.deepcopy(network), optimiser)


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
    stack: Stack,
    *,
    seconds: float,
    batch: int,
    rate: float,
    seed: int,
) -> Iterator[Progress]:
    """Train until ``seconds`` have been spent in all; yields after every step.

    The learning rate warms up, then falls along a cosine to 2 % at the end. Convolutions run in
    bfloat16, everything else in float32.
    """
    generator = np.random.default_rng((seed, progress.step))
    source = torch.Generator().manual_seed(int(generator.integers(2**31)))
    device = next(progress.network.parameters()).device
    while progress.seconds < seconds:
        began = time.perf_counter()
        fraction = min(1.0, progress.seconds / seconds)
        scale = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction))
        for group in progress.optimiser.param_groups:
            group["lr"] = rate * min(1.0, (progress.step + 1) / _WARM_UP) * scale
        clean, noisy, brain = example(slabs, stack, batch, generator, source)
        square, likelihood = losses(
            progress.network,
            clean.to(device),
            Noisy(*(t.to(device) for t in (noisy.maps, noisy.sd, noisy.correlation))),
            brain.to(device),
        )
        progress.optimiser.zero_grad()
        (square + 0.2 * likelihood).backward()
        torch.nn.utils.clip_grad_norm_(progress.network.parameters(), 1.0)
        progress.optimiser.step()
        progress.step += 1
        keep = min(0.998, (progress.step + 1) / (progress.step + 20))
        with torch.no_grad():
            pairs = zip(progress.average.parameters(), progress.network.parameters(), strict=True)
            for average, current in pairs:
                average.lerp_(current, 1 - keep)
        progress.losses.append((float(square.detach()), float(likelihood.detach())))
        progress.seconds += time.perf_counter() - began
        yield progress


def example(
    slabs: Slabs,
    stack: Stack,
    batch: int,
    generator: np.random.Generator,
    source: torch.Generator,
) -> tuple[Tensor, Noisy, Tensor]:
    """A batch: clean maps, noisy maps, and the brain with absent neighbours left out."""
    chosen = generator.integers(len(slabs.maps), size=batch)
    windows = [crop(slabs.maps[i].float(), slabs.brain[i], _WINDOW, generator) for i in chosen]
    clean = torch.stack([maps for maps, _ in windows])
    brain = torch.stack([inside for _, inside in windows]).float()
    clean, brain = turn(clean, brain, stack, generator)
    clean = vary(clean, brain, generator)
    if generator.uniform() < _FIT_NOISE_SHARE:
        noisy = fit_noise(clean, generator, source)
    else:
        noisy = free_noise(clean, stack, generator, source)
    brain = brain.clone()
    for i, choice in enumerate(generator.choice(4, p=_PRESENCE_SHARES, size=batch)):
        below, above = _PRESENCE[choice]
        brain[i, 0] *= below
        brain[i, 2] *= above
    return clean, noisy, brain


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
