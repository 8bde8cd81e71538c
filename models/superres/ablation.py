"""Prints the ablation table of the paper (arXiv 2512.17612) for small networks.

``python -m models.superres.ablation`` trains a network for each combination: guided by T1w (M_1),
by T2w (M_2) or by both (M_12), with and without the low-resolution maps as input, with and without
the loss that compares with them (``ablation_training.py``). These networks work alone; the last row
of each guide set is the shipped network with the physics around it, which serves all three. It
leaves checkpoints, from which it continues when started again, loss curves and a picture under
``--output``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from models.superres.ablation_training import (
    GUIDES,
    SETTINGS,
    VARIANTS,
    Variant,
    network_alone,
    train_variants,
)
from models.superres.bundle import open_session, session_step
from models.superres.held_out import Phantom, figures, measured_study, varied_phantoms
from models.superres.pictures import draw_ablation, draw_ablation_losses
from models.superres.reconstruction import super_resolve
from models.superres.study import Study, scale_guides
from models.superres.train import DATA, progress_bar
from models.superres.training import TrainingSettings, phantom_slices

SUBJECTS = 6
"""Phantoms of subjects that the table averages over."""

_COLUMNS = (
    "proton_density HFEN",
    "t1 HFEN",
    "t2 HFEN",
    "t2 HFEN in tissue",
    "proton_density SSIM",
    "t1 SSIM",
    "t2 SSIM",
    "GM T1 error (ms)",
    "GM T2 error (ms)",
    "grey matter T1 bias (%)",
    "white matter T1 bias (%)",
    "grey matter T2 bias (%)",
)

Case = tuple[Phantom, Study]


def mean_figures(results: list[Tensor], cases: list[Case]) -> dict[str, float]:
    """Figures of merit of maps of several subjects, averaged."""
    rows = [figures(maps, *case) for maps, case in zip(results, cases, strict=True)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@torch.no_grad()
def _maps(variant: Variant, cases: list[Case]) -> list[Tensor]:
    return [
        network_alone(variant.network, scale_guides(study), variant.measured_maps)
        for _, study in cases
    ]


def _shipped_maps(cases: list[Case], threads: int) -> list[Tensor]:
    """Maps of the shipped network with the physics around it."""
    step = session_step(open_session(threads=threads))
    return [super_resolve(study, step).maps for _, study in cases]


def _row(values: dict[str, float]) -> list[str]:
    return [
        f"{values[name]:.3f}" if "HFEN" in name or "SSIM" in name else f"{values[name]:.1f}"
        for name in _COLUMNS
    ]


def _trained(
    slices: Tensor,
    settings: TrainingSettings,
    folder: Path,
    device: str,
    seconds: float,
    model: str,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Variant]:
    """Variants of one guide set, on one thread where they are trained in a process of their own."""
    if parent_process() is not None:
        torch.set_num_threads(1)
    checkpoint = folder / f"{model}.checkpoint"
    return train_variants(GUIDES[model], slices, settings, checkpoint, tick, device, seconds)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m models.superres.ablation", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="published labels")
    parser.add_argument("--output", type=Path, default=Path("build/superres/ablation"))
    parser.add_argument(
        "--steps", type=int, default=SETTINGS.steps, help="optimiser steps of each network"
    )
    parser.add_argument("--batch", type=int, default=SETTINGS.batch, help="slices per step")
    parser.add_argument("--phantoms", type=int, default=SETTINGS.phantoms, help="training slices")
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help="of the table")
    parser.add_argument("--device", default="cpu", help="of torch, for the training")
    parser.add_argument("--seconds", type=float, default=math.inf, help="limit for each guide set")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--at-once", action="store_true", help="train the guide sets in processes side by side"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    data = options.data if options.data.exists() else None
    settings = replace(
        SETTINGS, steps=options.steps, batch=options.batch, phantoms=options.phantoms
    )
    with progress_bar() as progress:
        drawing = progress.add_task("phantoms", total=settings.phantoms)
        slices = phantom_slices(settings, data, lambda: progress.advance(drawing), options.threads)
        train_set = partial(
            _trained, slices, settings, options.output, options.device, options.seconds
        )
        if options.at_once:
            with ProcessPoolExecutor(len(GUIDES), get_context("spawn")) as pool:
                trained = dict(zip(GUIDES, pool.map(train_set, GUIDES), strict=True))
        else:
            trained = {}
            for model in GUIDES:
                task = progress.add_task(model, total=settings.steps)
                trained[model] = train_set(model, partial(progress.advance, task))
    phantoms = varied_phantoms(data, options.subjects)
    complete = [(phantom, measured_study(phantom, (3.0, 3.0))) for phantom in phantoms]
    table = Table("model", "low-resolution maps", *_COLUMNS)
    zero_filled = [scale_guides(study).interpolated for _, study in complete]
    table.add_row("input", "zero-filled", *_row(mean_figures(zero_filled, complete)))
    logs, first = {}, {"truth": phantoms[0].maps, "input": zero_filled[0]}
    for model, guides in GUIDES.items():
        cases = [(p, measured_study(p, (3.0, 3.0), guides=guides)) for p in phantoms]
        for name in VARIANTS:
            results = _maps(trained[model][name], cases)
            table.add_row(model, name, *_row(mean_figures(results, cases)))
            logs[f"{model}, {name}"] = trained[model][name].log
            first[f"{model}, {name}"] = results[0]
        shipped = _shipped_maps(cases, options.threads)
        table.add_row(model, "shipped, with physics", *_row(mean_figures(shipped, cases)))
    draw_ablation_losses(logs, options.output / "losses.png")
    draw_ablation(first, options.output / "maps.png")
    Console(width=220).print(table)


if __name__ == "__main__":
    main()
