"""Networks of the ablation: trained alike but for their guides, their input and their losses.

Here the network works alone: no Gauss–Newton rounds before, between or after its steps, so that
only inputs and losses differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.superres.losses import guide_synthesis, low_resolution_consistency
from models.superres.network import TYPICAL, Evidence, UpdateNetwork, per_map
from models.superres.reconstruction import evidence, initial_maps
from models.superres.simulation import TrainingStudy, random_study
from models.superres.study import ScaledStudy, scale_guides, signals
from models.superres.training import TrainingLog, TrainingSettings, random_batch, rate_at

GUIDES = {"M_1": (True, False), "M_2": (False, True), "M_12": (True, True)}
"""Whether the T1w and the T2w guide are there, by the paper's name of the model."""

VARIANTS = {"input and loss": (True, True), "no input": (False, True), "no loss": (True, False)}
"""Whether the low-resolution maps are an input and whether a loss compares with them."""

SETTINGS = TrainingSettings(
    steps=400,
    batch=4,
    size=64,
    phantoms=300,
    channels=16,
    blocks=2,
    learning_rate=1.5e-3,
    seed=3,
)
STEPS = 5
"""Times that the network is applied: without physics it takes some to reach the T2 of fluid."""

_CHECKPOINT_EVERY = 50


@dataclass
class Variant:
    """A network of the ablation.

    Attributes:
        network: of one learned step.
        measured_maps: whether the network is given the low-resolution maps.
        loss: whether a loss compares with the low-resolution maps.
        log: its losses.
    """

    network: UpdateNetwork
    measured_maps: bool
    loss: bool
    log: TrainingLog


def network_alone(
    network: UpdateNetwork, scaled: ScaledStudy, measured_maps: bool, steps: int = STEPS
) -> Tensor:
    """Maps (images, 3, rows, columns) from the network without physics between its steps.

    Args:
        network: of one learned step.
        scaled: the study.
        measured_maps: whether the network is given the low-resolution maps; without, it starts
            from one typical tissue.
        steps: times that the network is applied.
    """
    mask = scaled.study.mask
    maps = initial_maps(scaled) if measured_maps else per_map(TYPICAL, mask) * mask
    for _ in range(steps):
        told = evidence(scaled, maps)
        maps = network(*(told if measured_maps else without_measured_maps(told)))
    return maps


def without_measured_maps(told: Evidence) -> Evidence:
    """Evidence that hides the measured maps."""
    return told._replace(
        interpolated=torch.zeros_like(told.interpolated),
        map_residual=torch.zeros_like(told.map_residual),
    )


def _new_variants(settings: TrainingSettings, device: str) -> dict[str, Variant]:
    result = {}
    for name, (measured_maps, loss) in VARIANTS.items():
        torch.manual_seed(settings.seed)
        network = UpdateNetwork(settings.channels, settings.blocks)
        network.mixed_precision, network.memory_format = True, torch.channels_last
        # Without physics between its steps the network starts from larger ones.
        torch.nn.init.constant_(network.guide_weight, 0.7)
        torch.nn.init.constant_(network.map_weight, 0.3)
        result[name] = Variant(network.to(device), measured_maps, loss, TrainingLog())
    return result


def _losses(
    variant: Variant, training: TrainingStudy, scaled: ScaledStudy
) -> tuple[Tensor, Tensor]:
    study = training.study
    predicted = network_alone(variant.network, scaled, variant.measured_maps)
    guide_loss = guide_synthesis(
        signals(study.sequences, predicted), training.guides, training.guide_noise, study.mask
    )
    map_loss = low_resolution_consistency(
        predicted, training.measured, training.truncation, study.mask, training.map_noise
    )
    return guide_loss, map_loss


def train_variants(
    guides: tuple[bool, bool],
    phantoms: Tensor,
    settings: TrainingSettings,
    checkpoint: Path | None,
    tick: Callable[[], None],
    device: str = "cpu",
    seconds: float = math.inf,
) -> dict[str, Variant]:
    """Trains the variants of one set of guides side by side, on the same studies.

    Args:
        guides: whether the T1w and the T2w guide are there.
        phantoms: (phantoms, 3, size, size) maps to simulate studies from.
        settings: of the training.
        checkpoint: file to resume from and to write; None for neither.
        tick: called after each step.
        device: of torch.
        seconds: time limit; the learning rate falls with it.

    Returns:
        the variants by name, networks in evaluation mode on the CPU.
    """
    phantoms = phantoms.to(device)
    variants = _new_variants(settings, device)
    optimisers = {
        name: torch.optim.Adam(v.network.parameters(), lr=settings.learning_rate)
        for name, v in variants.items()
    }
    start, gone = 0, 0.0
    if checkpoint and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        for name, variant in variants.items():
            variant.network.load_state_dict(state["networks"][name])
            optimisers[name].load_state_dict(state["optimisers"][name])
            variant.log.entries = [tuple(entry) for entry in state["logs"][name]]
        start, gone = state["step"], state["seconds"]
    begun = time.monotonic() - gone
    recent: dict[str, list[Tensor]] = {name: [] for name in variants}
    for step in range(start, settings.steps if gone < seconds else start):
        progress = max(step / settings.steps, (time.monotonic() - begun) / seconds)
        random = np.random.default_rng((settings.seed, 4, step))
        training = random_study(random_batch(phantoms, random, settings.batch), random, guides)
        scaled = scale_guides(training.study)
        for name, variant in variants.items():
            guide_loss, map_loss = _losses(variant, training, scaled)
            optimiser = optimisers[name]
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * rate_at(progress)
            optimiser.zero_grad()
            map_weight = settings.map_weight if variant.loss else 0.0
            (settings.guide_weight * guide_loss + map_weight * map_loss).backward()
            norm = torch.nn.utils.clip_grad_norm_(variant.network.parameters(), 1.0)
            if torch.isfinite(norm):
                optimiser.step()
            recent[name].append(torch.stack([guide_loss, map_loss]).detach())
        tick()
        done, last = step + 1, step + 1 == settings.steps or progress >= 1
        if done % _CHECKPOINT_EVERY == 0 or last:
            for name, variant in variants.items():
                guide_mean, map_mean = torch.stack(recent[name]).mean(0).tolist()
                variant.log.entries.append((done, guide_mean, map_mean))
                recent[name].clear()
            if checkpoint:
                _save(checkpoint, variants, optimisers, done, time.monotonic() - begun)
        if last:
            break
    for variant in variants.values():
        variant.network.mixed_precision = False
        variant.network.memory_format = torch.contiguous_format
        variant.network.eval().to("cpu")
    return variants


def _save(
    checkpoint: Path,
    variants: dict[str, Variant],
    optimisers: dict[str, torch.optim.Adam],
    step: int,
    seconds: float,
) -> None:
    state = {
        "networks": {name: v.network.state_dict() for name, v in variants.items()},
        "optimisers": {name: o.state_dict() for name, o in optimisers.items()},
        "logs": {name: v.log.entries for name, v in variants.items()},
        "step": step,
        "seconds": seconds,
    }
    unfinished = checkpoint.with_suffix(".partial")
    torch.save(state, unfinished)
    unfinished.replace(checkpoint)
