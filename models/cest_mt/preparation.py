"""The simulated voxels that a training of the command line draws, with noise and first stage."""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from models.cest_mt.fresh_voxels import FreshVoxels
from models.cest_mt.network import ParameterNetwork
from models.cest_mt.progress import progress_bar
from models.cest_mt.specification import AMIDE_3T, MT_3T
from models.cest_mt.specification import NetworkSpecification as Specification
from models.cest_mt.training import NOISE_RANGE, FingerprintBatches
from models.cest_mt.training_set import VoxelSet, draw_values, simulated_set

EVALUATION_NOISE = 0.01
"""Noise at which networks are evaluated, as a share of the largest image."""

_HELD_OUT_SEED = 10_000
_FRESH_PART = 2**15
_FRESH_SEED = 1_000_000
"""Beside the seed of a run, so that fresh voxels are none of the held-out ones."""


@dataclass
class Run:
    """Everything that one training needs.

    Attributes:
        specification: of the network.
        options: of the command line.
        folder: for checkpoints, pictures and figures.
        training: voxels to train on.
        held_out: voxels to evaluate on.
        batches: noisy batches of ``training``, noise of random level.
        noisy: noisy batches of ``held_out``, 1 % noise.
        fresh: exchanges voxels of ``training``; None where they stay.
    """

    specification: Specification
    options: argparse.Namespace
    folder: Path
    training: VoxelSet
    held_out: VoxelSet
    batches: FingerprintBatches
    noisy: FingerprintBatches
    fresh: FreshVoxels | None

    def exchange(self, step: int) -> None:
        """Brings the training voxels to what they are at a step."""
        if self.fresh is not None:
            self.fresh.at(step)


def prepare(specification: Specification, options: argparse.Namespace) -> Run:
    """Draws and simulates, or reads, what the options of the command line say."""
    first_stage = first_stage_of(specification, options.output)
    folder = options.output / specification.name
    folder.mkdir(parents=True, exist_ok=True)
    cache, device = options.output / "simulated", options.device
    fresh = None
    if options.fresh_every:
        size = min(options.voxels, _FRESH_PART)
        with progress_bar(f"simulating {options.voxels} voxels", 100) as progress:
            fresh = FreshVoxels(
                specification,
                options.voxels // size,
                size,
                options.fresh_every,
                options.seed + _FRESH_SEED,
                device,
                MT_3T if first_stage is not None else None,
                lambda share: progress(round(100 * share), share),
            )
        training = fresh.voxels
        stage = None
        if first_stage is not None:
            stage = (copy.deepcopy(first_stage).to(device), fresh.first_signal)
        batches = FingerprintBatches(training, specification, stage, NOISE_RANGE)
    else:
        values = draw_values(specification, options.voxels, options.seed)
        training = simulated(specification, values, cache, device)
        batches = batches_of(specification, training, first_stage, cache, NOISE_RANGE, device)
        training = training.to(device)
    held_out, noisy = held_out_batches(
        specification, options.held_out, options.seed, first_stage, cache, device
    )
    return Run(specification, options, folder, training, held_out, batches, noisy, fresh)


def held_out_batches(
    specification: Specification,
    voxels: int,
    seed: int,
    first_stage: ParameterNetwork | None,
    cache: Path,
    device: str = "cpu",
) -> tuple[VoxelSet, FingerprintBatches]:
    """Voxels that no training with this seed sees, and noisy batches of them."""
    values = draw_values(specification, voxels, seed + _HELD_OUT_SEED)
    held_out = simulated(specification, values, cache, device)
    noise = (EVALUATION_NOISE, EVALUATION_NOISE)
    return held_out, batches_of(specification, held_out, first_stage, cache, noise, "cpu")


def simulated(specification: Specification, values: Tensor, cache: Path, device: str) -> VoxelSet:
    """Simulates with a progress bar, or reads what was simulated before."""
    with progress_bar(
        f"simulating {len(values)} voxels of {specification.protocol}", 100
    ) as progress:
        return simulated_set(
            specification, values, cache, lambda share: progress(round(100 * share), share), device
        )


def first_stage_of(specification: Specification, output: Path) -> ParameterNetwork | None:
    """The trained semisolid network, for the amide stage only."""
    if specification.name != AMIDE_3T.name:
        return None
    weights = output / MT_3T.name / "estimator.pt"
    if not weights.exists():
        raise SystemExit(f"{weights} is missing: train {MT_3T.name} first, the amide needs it")
    network = ParameterNetwork(replace(MT_3T, width=specification.width))
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def batches_of(
    specification: Specification,
    voxels: VoxelSet,
    first_stage: ParameterNetwork | None,
    cache: Path,
    noise_range: tuple[float, float],
    device: str,
) -> FingerprintBatches:
    """Noisy batches of the voxels, with the same voxels in the first stage's protocol."""
    if first_stage is None:
        return FingerprintBatches(voxels.to(device), specification, noise_range=noise_range)
    names = [quantity.name for quantity in specification.varied]
    columns = [names.index(quantity.name) for quantity in MT_3T.varied]
    first = simulated(MT_3T, voxels.values[:, columns].contiguous(), cache, device)
    stage = (copy.deepcopy(first_stage).to(device), first.signal.to(device))
    return FingerprintBatches(voxels.to(device), specification, stage, noise_range)
