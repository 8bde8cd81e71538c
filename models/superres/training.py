"""The training loop: seeded by step, resumable, and fed by the two self-supervised losses only."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.superres.anatomy import anatomy_source
from models.superres.losses import guide_synthesis, low_resolution_consistency
from models.superres.network import Evidence, UpdateNetwork
from models.superres.phantom import Maps, random_maps
from models.superres.reconstruction import reconstruct
from models.superres.simulation import random_study
from models.superres.study import signals

STAGE_WEIGHTS = (1.0, 1.0)
"""Weight of the losses after each learned step."""

_WARM_UP = 0.05
_CHECKPOINT_EVERY = 25
_LOG_EVERY = 20


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained.

    Attributes:
        steps: optimiser steps.
        batch: phantom slices per step.
        size: rows and columns of a slice.
        phantoms: number of phantom slices that the steps draw from.
        channels: of the network.
        blocks: residual blocks of the network.
        learning_rate: the highest; rises over a twentieth of the steps and falls along a cosine.
        guide_weight: weight of guide synthesis.
        map_weight: weight of low-resolution consistency.
        one_guide: share of steps in which one of the two guides is missing.
        seed: of phantoms, studies and weights.
    """

    steps: int = 5000
    batch: int = 6
    size: int = 96
    phantoms: int = 600
    channels: int = 32
    blocks: int = 4
    learning_rate: float = 2e-3
    guide_weight: float = 1.0
    map_weight: float = 1.0
    one_guide: float = 0.3
    seed: int = 1


@dataclass
class TrainingLog:
    """Losses over the run: (step, guide synthesis, low-resolution consistency), averaged."""

    entries: list[tuple[int, float, float]] = field(default_factory=list)


def phantom_slices(
    settings: TrainingSettings, data: Path | None, tick: Callable[[], None], processes: int = 1
) -> Tensor:
    """Training maps (phantoms, 3, size, size); the same for the same settings and data.

    Args:
        settings: their number, size and seed.
        data: folder of the published label volumes; None for procedural anatomy alone.
        tick: called after each phantom.
        processes: that share the work; the phantoms do not depend on their number.
    """
    make = partial(_phantom, settings.seed, settings.size, data)
    slices = np.empty((settings.phantoms, 3, settings.size, settings.size), dtype=np.float32)
    if processes == 1:
        for index in range(settings.phantoms):
            slices[index] = make(index)
            tick()
        return torch.from_numpy(slices)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for index, maps in enumerate(pool.imap(make, range(settings.phantoms), chunksize=16)):
            slices[index] = maps
            tick()
    return torch.from_numpy(slices)


def _phantom(seed: int, size: int, data: Path | None, index: int) -> Maps:
    random = np.random.default_rng((seed, 1, index))
    return random_maps(anatomy_source(data)((2 * size, 2 * size), random), 2, random)


def random_batch(phantoms: Tensor, random: np.random.Generator, size: int) -> Tensor:
    """Phantoms (size, 3, rows, columns) drawn, turned and with tissue of other subjects."""
    chosen = torch.from_numpy(random.integers(len(phantoms), size=size))
    maps = phantoms[chosen.to(phantoms.device)]
    maps = maps.rot90(int(random.integers(4)), (2, 3))
    if random.random() < 0.5:
        maps = maps.flip(3)
    # Other scanners and ages: the whole batch's tissue moves, within what the bounds hold.
    factors = np.exp(random.standard_normal((len(maps), 3)) * (0.03, 0.06, 0.08))
    return (maps * maps.new_tensor(factors)[..., None, None]).clamp_max(2400.0 * 2)


def _guides(settings: TrainingSettings, random: np.random.Generator) -> tuple[bool, bool]:
    if random.random() < settings.one_guide:
        first = bool(random.random() < 0.5)
        return first, not first
    return True, True


def rate_at(progress: float) -> float:
    """Learning rate over the highest: a linear rise, then a cosine that ends near zero.

    Args:
        progress: share of the training that is done.
    """
    if progress < _WARM_UP:
        return max(progress / _WARM_UP, 0.04)
    fall = min((progress - _WARM_UP) / (1 - _WARM_UP), 1.0)
    return 0.0004 + 0.9996 * (1 + math.cos(math.pi * fall)) / 2


def study_losses(
    network: UpdateNetwork, maps: Tensor, settings: TrainingSettings, step: int
) -> tuple[Tensor, Tensor]:
    """Both losses of the network on random studies of phantom maps (images, 3, rows, columns)."""
    random = np.random.default_rng((settings.seed, 2, step))
    training = random_study(maps, random, _guides(settings, random))
    study = training.study

    def apply(told: Evidence) -> Tensor:
        return network(*told)

    guide_loss = map_loss = maps.new_zeros(())
    for weight, stage in zip(STAGE_WEIGHTS, reconstruct(study, apply, finish=False), strict=True):
        predicted = stage.learned
        synthetic = signals(study.sequences, predicted)
        guide_loss = guide_loss + weight * guide_synthesis(
            synthetic, training.guides, training.guide_noise, study.mask
        )
        map_loss = map_loss + weight * low_resolution_consistency(
            predicted, training.measured, training.truncation, study.mask, training.map_noise
        )
    return guide_loss / sum(STAGE_WEIGHTS), map_loss / sum(STAGE_WEIGHTS)


def train(
    settings: TrainingSettings,
    phantoms: Tensor,
    checkpoint: Path | None,
    tick: Callable[[int, float, float], None],
    device: str = "cpu",
    seconds: float = math.inf,
    initial: UpdateNetwork | None = None,
) -> tuple[UpdateNetwork, TrainingLog]:
    """Trains a network, from the checkpoint where there is one.

    Args:
        settings: of the training.
        phantoms: (phantoms, 3, size, size) maps to simulate studies from.
        checkpoint: file to resume from and to write; None for neither.
        tick: called after each step with the step and both losses.
        device: of torch; the random numbers of noise are those of the device.
        seconds: time limit. The learning rate then falls with the time that is gone if that is
            more than the steps that are done.
        initial: network to continue from where there is no checkpoint; None for random weights.

    Returns:
        the network in evaluation mode on the CPU, and the log.
    """
    phantoms = phantoms.to(device)
    torch.manual_seed(settings.seed)
    network = UpdateNetwork(settings.channels, settings.blocks)
    if initial:
        network.load_state_dict(initial.state_dict())
    network.to(device)
    network.mixed_precision = True
    network.memory_format = torch.channels_last
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    log, start, gone = TrainingLog(), 0, 0.0
    if checkpoint and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        log.entries = [tuple(entry) for entry in state["log"]]
        start, gone = state["step"], state["seconds"]
    begun = time.monotonic() - gone
    recent: list[tuple[float, float]] = []
    for step in range(start, settings.steps if gone < seconds else start):
        progress = max(step / settings.steps, (time.monotonic() - begun) / seconds)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate_at(progress)
        maps = random_batch(
            phantoms, np.random.default_rng((settings.seed, 3, step)), settings.batch
        )
        guide_loss, map_loss = study_losses(network, maps, settings, step)
        loss = settings.guide_weight * guide_loss + settings.map_weight * map_loss
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step()
        recent.append((float(guide_loss.detach()), float(map_loss.detach())))
        tick(step, *recent[-1])
        done, last = step + 1, step + 1 == settings.steps or progress >= 1
        if done % _LOG_EVERY == 0 or last:
            guide_mean, map_mean = np.mean(recent, axis=0)
            log.entries.append((done, float(guide_mean), float(map_mean)))
            recent.clear()
        if checkpoint and (done % _CHECKPOINT_EVERY == 0 or last):
            state = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "log": log.entries,
                "step": done,
                "seconds": time.monotonic() - begun,
            }
            unfinished = checkpoint.with_suffix(".partial")
            torch.save(state, unfinished)
            unfinished.replace(checkpoint)
        if last:
            break
    network.mixed_precision, network.memory_format = False, torch.contiguous_format
    return network.eval().to("cpu"), log
