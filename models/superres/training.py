"""The training loop: seeded by step, resumable, and fed by the two self-supervised losses only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.superres.anatomy import anatomy_source
from models.superres.losses import guide_synthesis, low_resolution_consistency
from models.superres.network import Evidence, UpdateNetwork
from models.superres.phantom import random_maps
from models.superres.reconstruction import reconstruct
from models.superres.simulation import random_study
from models.superres.study import signals

STAGE_WEIGHTS = (1.0, 1.0)
"""Weight of the losses after each learned step."""

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

    steps: int = 500
    batch: int = 6
    size: int = 96
    phantoms: int = 300
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
    settings: TrainingSettings, data: Path | None, tick: Callable[[], None]
) -> Tensor:
    """Training maps (phantoms, 3, size, size); the same for the same settings and data.

    Args:
        settings: their number, size and seed.
        data: folder of the published label volumes; None for procedural anatomy alone.
        tick: called after each phantom.
    """
    draw = anatomy_source(data)
    slices = []
    for index in range(settings.phantoms):
        random = np.random.default_rng((settings.seed, 1, index))
        labels = draw((2 * settings.size, 2 * settings.size), random)
        slices.append(torch.from_numpy(random_maps(labels, 2, random)))
        tick()
    return torch.stack(slices)


def _batch(phantoms: Tensor, random: np.random.Generator, size: int) -> Tensor:
    maps = phantoms[random.integers(len(phantoms), size=size)]
    maps = maps.rot90(int(random.integers(4)), (2, 3))
    if random.random() < 0.5:
        maps = maps.flip(3)
    # Other scanners and ages: the whole batch's tissue moves, within what the bounds hold.
    factors = np.exp(random.standard_normal((len(maps), 3)) * (0.03, 0.06, 0.08))
    return (maps * torch.tensor(factors, dtype=maps.dtype)[..., None, None]).clamp_max(2400.0 * 2)


def _guides(settings: TrainingSettings, random: np.random.Generator) -> tuple[bool, bool]:
    if random.random() < settings.one_guide:
        first = bool(random.random() < 0.5)
        return first, not first
    return True, True


def study_losses(
    network: UpdateNetwork, maps: Tensor, settings: TrainingSettings, step: int
) -> tuple[Tensor, Tensor]:
    """Both losses of the network on random studies of phantom maps (images, 3, rows, columns)."""
    random = np.random.default_rng((settings.seed, 2, step))
    training = random_study(maps, random, _guides(settings, random))
    study = training.study

    def apply(told: Evidence) -> Tensor:
        return network(*told)

    guide_loss = map_loss = torch.zeros(())
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
) -> tuple[UpdateNetwork, TrainingLog]:
    """Trains a network, from the checkpoint where there is one.

    Args:
        settings: of the training.
        phantoms: (phantoms, 3, size, size) maps to simulate studies from.
        checkpoint: file to resume from and to write; None for neither.
        tick: called after each step with the step and both losses.

    Returns:
        the network in evaluation mode and the log.
    """
    torch.manual_seed(settings.seed)
    network = UpdateNetwork(settings.channels, settings.blocks)
    network.mixed_precision = True
    network.memory_format = torch.channels_last
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        settings.learning_rate,
        settings.steps,
        pct_start=0.05,
        cycle_momentum=False,
        final_div_factor=100,
    )
    log, start = TrainingLog(), 0
    if checkpoint and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        log.entries, start = [tuple(entry) for entry in state["log"]], state["step"]
    recent: list[tuple[float, float]] = []
    for step in range(start, settings.steps):
        maps = _batch(phantoms, np.random.default_rng((settings.seed, 3, step)), settings.batch)
        guide_loss, map_loss = study_losses(network, maps, settings, step)
        loss = settings.guide_weight * guide_loss + settings.map_weight * map_loss
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step()
        schedule.step()
        recent.append((float(guide_loss.detach()), float(map_loss.detach())))
        tick(step, *recent[-1])
        done = step + 1
        if done % _LOG_EVERY == 0 or done == settings.steps:
            guide_mean, map_mean = np.mean(recent, axis=0)
            log.entries.append((done, float(guide_mean), float(map_mean)))
            recent.clear()
        if checkpoint and (done % _CHECKPOINT_EVERY == 0 or done == settings.steps):
            state = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "log": log.entries,
                "step": done,
            }
            partial = checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(checkpoint)
    network.mixed_precision, network.memory_format = False, torch.contiguous_format
    return network.eval(), log
