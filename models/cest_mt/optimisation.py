"""The training loop of every network here: seeded, resumable, bounded in time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_CHECKPOINT_EVERY = 200
_WARM_UP = 0.03
"""Share of the training over which the learning rate rises."""
_MOMENTUM = (0.85, 0.95)
_SECOND_MOMENTUM = 0.999


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        steps: optimiser steps at most.
        batch: voxels per step.
        learning_rate: after the first steps; falls to zero along a half cosine.
        weight_decay: of AdamW.
        seed: of the initial weights, the order of voxels and the noise.
        log_every: steps over which the loss is averaged for the log.
        patience: log entries without a new lowest loss after which training stops; 0 for never.
        seconds: wall time at most, within which the learning rate falls to zero; 0 for any. How
            many steps that are depends on the machine: the log tells.
    """

    steps: int = 8_000
    batch: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 1
    log_every: int = 100
    patience: int = 0
    seconds: float = 0.0

    def pace(self, share: float) -> tuple[float, float]:
        """Learning rate and first momentum when a share of the training is done.

        One cycle (Smith and Topin 2017, arXiv 1708.07120): the rate rises from a 25th and falls
        to zero, each along half a cosine; the momentum does the opposite.
        """
        if share < _WARM_UP:
            height = 0.5 * (1 - math.cos(math.pi * share / _WARM_UP))
            lowest = self.learning_rate / 25
        else:
            height = 0.5 * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP)))
            lowest = 0.0
        rate = lowest + (self.learning_rate - lowest) * height
        return rate, _MOMENTUM[1] + (_MOMENTUM[0] - _MOMENTUM[1]) * height


@dataclass
class TrainingLog:
    """Loss over the run: (step, loss averaged since the entry before)."""

    entries: list[tuple[int, float]] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Number of the last step that is logged."""
        return self.entries[-1][0] if self.entries else 0

    def stagnant(self, patience: int) -> bool:
        """Whether none of the last ``patience`` entries is lower than the best before them."""
        losses = [loss for _, loss in self.entries]
        if patience == 0 or len(losses) <= patience:
            return False
        return min(losses[-patience:]) >= min(losses[:-patience])


def optimise(
    network: nn.Module,
    loss_of: Callable[[Tensor, torch.Generator, float], Tensor],
    voxels: int,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    refresh: Callable[[int], None] = lambda step: None,
) -> TrainingLog:
    """Trains in place with AdamW and a cosine schedule over random batches.

    Args:
        network: all its parameters are trained, on the device where they are.
        loss_of: gives the loss of the voxels (rows), with a source of randomness and the share
            of the training that is done.
        voxels: how many there are to choose from.
        settings: steps, rates and seed.
        checkpoint: where the state is kept. The run continues from there with the same random
            numbers, so that it ends with the same weights as an uninterrupted run.
        progress: told the step and the loss at each entry of the log.
        refresh: told each step before it is done, to exchange voxels.

    Returns:
        The log.

    Raises:
        ValueError: the checkpoint is of a run with other settings.
    """
    parameters = list(network.parameters())
    device = parameters[0].device
    generator = torch.Generator(device).manual_seed(settings.seed)
    optimiser = torch.optim.AdamW(
        parameters, settings.learning_rate, weight_decay=settings.weight_decay
    )
    log = TrainingLog()
    first, spent = _resume(checkpoint, settings, network, optimiser, generator, log)
    began = time.monotonic() - spent
    running = torch.zeros((), device=device)
    averaged = 0
    network.train()
    for step in range(first, settings.steps):
        share = step / settings.steps
        if settings.seconds > 0:
            share = max(share, (time.monotonic() - began) / settings.seconds)
            if share >= 1:
                break
        refresh(step)
        rate, momentum = settings.pace(share)
        for group in optimiser.param_groups:
            group["lr"], group["betas"] = rate, (momentum, _SECOND_MOMENTUM)
        rows = torch.randint(voxels, (settings.batch,), generator=generator, device=device)
        value = loss_of(rows, generator, share)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        running += value.detach()
        averaged += 1
        if (step + 1) % settings.log_every == 0 or step + 1 == settings.steps:
            log.entries.append((step + 1, float(running) / averaged))
            progress(step + 1, log.entries[-1][1])
            running, averaged = torch.zeros_like(running), 0
            if log.stagnant(settings.patience):
                break
        if checkpoint is not None and (step + 1) % _CHECKPOINT_EVERY == 0:
            state = {
                "settings": settings.__dict__,
                "step": step + 1,
                "seconds": time.monotonic() - began,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "generator": generator.get_state(),
                "log": log.entries,
            }
            part = checkpoint.with_suffix(".part")
            torch.save(state, part)
            part.replace(checkpoint)
    network.eval()
    return log


def _resume(
    checkpoint: Path | None,
    settings: TrainingSettings,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    log: TrainingLog,
) -> tuple[int, float]:
    """Restores everything from the checkpoint; gives the next step and the seconds spent."""
    if checkpoint is None or not checkpoint.exists():
        return 0, 0.0
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["settings"] != settings.__dict__:
        raise ValueError(
            f"{checkpoint} is of a run with other settings ({state['settings']}): give the same "
            "settings to continue it, or remove the file to begin anew"
        )
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["generator"])
    log.entries = [tuple(entry) for entry in state["log"]]
    return int(state["step"]), float(state["seconds"])
