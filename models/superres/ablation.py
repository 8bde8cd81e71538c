"""Prints the ablation table of the paper (arXiv 2512.17612) for small networks.

``python -m models.superres.ablation`` trains a network for each combination: guided by T1w (M_1),
by T2w (M_2) or by both (M_12), with and without the low-resolution maps as input, with and without
the loss that compares with them. Here the network works alone: no Gauss–Newton rounds before,
between or after its steps, so that only inputs and losses differ. The guide scale is known.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from models.superres.held_out import (
    Phantom,
    figures,
    measured_study,
    procedural_phantom,
    published_phantom,
)
from models.superres.losses import guide_synthesis, low_resolution_consistency
from models.superres.network import TYPICAL, Evidence, UpdateNetwork, per_map
from models.superres.reconstruction import evidence, initial_maps
from models.superres.simulation import random_study
from models.superres.study import ScaledStudy, Study, scale_guides, signals
from models.superres.train import DATA, progress_bar
from models.superres.training import TrainingSettings, phantom_slices

GUIDES = {"M_1": (True, False), "M_2": (False, True), "M_12": (True, True)}
VARIANTS = {"input and loss": (True, True), "no input": (False, True), "no loss": (True, False)}
STEPS = 3
"""Times that the network is applied."""

_COLUMNS = (
    "proton_density HFEN",
    "t1 HFEN",
    "t2 HFEN",
    "proton_density SSIM",
    "t1 SSIM",
    "t2 SSIM",
    "GM T1 error (ms)",
    "grey matter T1 bias (%)",
    "white matter T1 bias (%)",
    "grey matter T2 bias (%)",
)


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


def _train(
    guides: tuple[bool, bool],
    measured_maps: bool,
    loss: bool,
    phantoms: Tensor,
    settings: TrainingSettings,
) -> UpdateNetwork:
    torch.manual_seed(settings.seed)
    network = UpdateNetwork(settings.channels, settings.blocks)
    # Without physics between its steps the network starts from larger ones.
    torch.nn.init.constant_(network.guide_weight, 0.7)
    torch.nn.init.constant_(network.map_weight, 0.3)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, settings.steps, pct_start=0.1, cycle_momentum=False
    )
    for step in range(settings.steps):
        random = np.random.default_rng((settings.seed, 4, step))
        training = random_study(
            phantoms[random.integers(len(phantoms), size=settings.batch)], random, guides
        )
        study = training.study
        predicted = network_alone(network, scale_guides(study), measured_maps)
        total = guide_synthesis(
            signals(study.sequences, predicted), training.guides, training.guide_noise, study.mask
        )
        if loss:
            total = total + low_resolution_consistency(
                predicted, training.measured, training.truncation, study.mask, training.map_noise
            )
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()


def _row(maps: Tensor, phantom: Phantom, study: Study) -> list[str]:
    values = figures(maps, phantom, study)
    return [
        f"{values[name]:.3f}" if "HFEN" in name or "SSIM" in name else f"{values[name]:.1f}"
        for name in _COLUMNS
    ]


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m models.superres.ablation", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="published labels")
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps of each network")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = options.data if options.data.exists() else None
    settings = TrainingSettings(
        steps=options.steps, batch=4, size=64, phantoms=200, channels=16, blocks=2, seed=3
    )
    phantom = published_phantom(data) if data else procedural_phantom((216, 180), 2)
    complete = measured_study(phantom, (3.0, 3.0))
    table = Table("model", "low-resolution maps", *_COLUMNS)
    table.add_row(
        "input", "zero-filled", *_row(scale_guides(complete).interpolated, phantom, complete)
    )
    with progress_bar() as progress:
        phantoms = phantom_slices(settings, data, lambda: None)
        task = progress.add_task("ablation", total=len(GUIDES) * len(VARIANTS))
        for model, guides in GUIDES.items():
            study = measured_study(phantom, (3.0, 3.0), guides=guides)
            for variant, (measured_maps, loss) in VARIANTS.items():
                network = _train(guides, measured_maps, loss, phantoms, settings)
                with torch.no_grad():
                    maps = network_alone(network, scale_guides(study), measured_maps)
                table.add_row(model, variant, *_row(maps, phantom, study))
                progress.advance(task)
    Console(width=220).print(table)


if __name__ == "__main__":
    main()
