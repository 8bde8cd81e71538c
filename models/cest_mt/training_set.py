"""Simulated voxels for training and held-out evaluation, drawn from wide priors and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.cest_mt.pools import ExchangingPool, PoolModel
from models.cest_mt.schedule import (
    Image,
    SaturationSchedule,
    Spoiler,
    builtin_schedules,
    load_schedule,
)
from models.cest_mt.signal import simulate
from models.cest_mt.specification import FixedPool, NetworkSpecification, Range

_TISSUE_SHARE = 0.5
_TISSUE = {
    "t1": (600.0, 2200.0),
    "t2": (30.0, 150.0),
    "mt_fraction": (1.0, 22.0),
    "mt_exchange_rate": (5.0, 80.0),
    "solute_fraction": (0.05, 0.5),
    "solute_exchange_rate": (10.0, 450.0),
    "b0_shift": (-0.3, 0.3),
    "b1_scale": (0.7, 1.3),
}
"""Half of the voxels with maps have values that were reported for brain at 3 T, and more:
the means of the literature lie well inside (doi 10.1038/s42005-025-02063-8)."""

_TILE_CPU = 4096
_TILE_GPU = 2**16

_PHYSICS = (
    *("training_set", "signal", "evolution", "generator", "spin_lock", "propagator", "cycles"),
    *("pools", "lineshape", "protocol_file", "pulseq", "schedule", "specification"),
)
"""Modules that decide a simulated signal: a change of any makes cached sets void."""


@dataclass(frozen=True)
class VoxelSet:
    """Simulated voxels.

    Attributes:
        values: (voxels, varied) parameters, nuisances and conditions in the order and units of
            ``NetworkSpecification.varied``.
        signal: (voxels, images) noise-free signal relative to M0.
    """

    values: Tensor
    signal: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def to(self, device: torch.device | str) -> VoxelSet:
        """The same voxels on another device."""
        return VoxelSet(self.values.to(device), self.signal.to(device))


def draw_values(specification: NetworkSpecification, voxels: int, seed: int) -> Tensor:
    """Draws the properties of voxels from the prior: uniform, or log-uniform for T1 and T2.

    A scrambled Sobol sequence fills the space evenly; half of the voxels of a network that
    takes maps fill the part of it where brain tissue lies. T2 never exceeds T1.

    Args:
        specification: which quantities, over which ranges.
        voxels: how many.
        seed: of the scrambling; another seed gives another, independent set.

    Returns:
        (voxels, varied) float32 in physical units.
    """
    ranges = specification.varied
    uniform = torch.quasirandom.SobolEngine(len(ranges) + 1, scramble=True, seed=seed).draw(voxels)
    tissue = uniform[:, -1] < _TISSUE_SHARE
    columns = {}
    for column, quantity in enumerate(ranges):
        drawn = _spread(uniform[:, column], quantity, quantity.lower, quantity.upper)
        if specification.conditions:
            narrow = _spread(uniform[:, column], quantity, *_TISSUE[quantity.name])
            drawn = torch.where(tissue, narrow, drawn)
        columns[quantity.name] = drawn
    if {"t1", "t2"} <= set(columns):
        columns["t2"] = torch.minimum(columns["t1"], columns["t2"])
    return torch.stack(list(columns.values()), dim=1)


def _spread(uniform: Tensor, quantity: Range, lower: float, upper: float) -> Tensor:
    if quantity.logarithmic:
        return lower * (upper / lower) ** uniform
    return lower + (upper - lower) * uniform


def pools_of(specification: NetworkSpecification, values: Tensor) -> PoolModel:
    """The pool model of every voxel, as the published method has it.

    Args:
        specification: says what the columns are.
        values: (voxels, varied) as :func:`draw_values` gives them.

    Returns:
        Pools in the simulator's units (s, fractions of 1).
    """
    column = {quantity.name: values[:, i] for i, quantity in enumerate(specification.varied)}
    t1, t2 = column["t1"] / 1000, column["t2"] / 1000

    def pool(constants: FixedPool | None, name: str) -> ExchangingPool | None:
        if constants is None:
            return None
        return ExchangingPool(
            fraction=column[f"{name}_fraction"] / 100,
            exchange_rate=column[f"{name}_exchange_rate"],
            t1=t1 if constants.t1 is None else constants.t1,
            t2=constants.t2,
            shift=constants.shift,
        )

    solute = pool(specification.solute, "solute")
    return PoolModel(
        water_t1=t1,
        water_t2=t2,
        solutes=() if solute is None else (solute,),
        mt=pool(specification.semisolid, "mt"),
    )


def sampled_before_excitation(schedule: SaturationSchedule) -> SaturationSchedule:
    """The schedule with each sample right after the last spoiler of the preparation.

    A Pulseq file samples after the first excitation of the readout, where Mz is no longer what
    the image shows: the transverse magnetisation, which is proportional to Mz before it.

    Args:
        schedule: may hold an excitation at the end of its preparations.

    Returns:
        The same events, those after the last spoiler counted to the recovery.
    """
    images = []
    for image in schedule.images:
        spoilers = [i for i, event in enumerate(image.preparation) if isinstance(event, Spoiler)]
        sample = spoilers[-1] + 1 if spoilers else len(image.preparation)
        images.append(
            Image(image.preparation[:sample], image.preparation[sample:] + image.recovery)
        )
    return replace(schedule, images=tuple(images))


def simulate_values(
    specification: NetworkSpecification,
    values: Tensor,
    progress: Callable[[float], None] = lambda done: None,
) -> Tensor:
    """Simulates the noise-free signals of voxels, tile by tile in float32, where they lie.

    Args:
        specification: says what the columns are and which schedule is played.
        values: (voxels, varied) as :func:`draw_values` gives them.
        progress: told the share that is done.

    Returns:
        (voxels, images) relative to M0.
    """
    schedule = sampled_before_excitation(load_schedule(specification.protocol))
    names = [quantity.name for quantity in specification.varied]
    signal = values.new_empty(len(values), specification.images)
    size = _TILE_GPU if values.is_cuda else _TILE_CPU
    for start in range(0, len(values), size):
        tile = values[start : start + size]
        shift = tile[:, names.index("b0_shift")] if "b0_shift" in names else 0.0
        scale = tile[:, names.index("b1_scale")] if "b1_scale" in names else 1.0
        with torch.no_grad():
            signal[start : start + size] = simulate(
                schedule, pools_of(specification, tile), b0_shift_ppm=shift, b1_scale=scale
            )
        progress(min(1.0, (start + size) / len(values)))
    return signal


def simulated_set(
    specification: NetworkSpecification,
    values: Tensor,
    cache: Path | None = None,
    progress: Callable[[float], None] = lambda done: None,
    device: torch.device | str = "cpu",
) -> VoxelSet:
    """Simulates voxels, or reads them where the same were simulated before.

    Args:
        specification: says what the columns are and which schedule is played.
        values: (voxels, varied) as :func:`draw_values` gives them.
        cache: folder for simulated sets, or None to keep none.
        progress: told the share that is done.
        device: where they are simulated.

    Returns:
        The voxels, on the CPU.
    """
    file = None
    if cache is not None:
        file = cache / f"{specification.name}-{_fingerprint(specification, values)}.npy"
        if file.exists():
            return VoxelSet(values, torch.from_numpy(np.load(file)))
    drawn = VoxelSet(values, simulate_values(specification, values.to(device), progress).cpu())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npy")
        np.save(part, drawn.signal.numpy())
        part.replace(file)
    return drawn


def _fingerprint(specification: NetworkSpecification, values: Tensor) -> str:
    """Names a set by all that decides it: the values, the protocol file and the physics."""
    digest = hashlib.sha256(values.numpy().tobytes())
    for source in _PHYSICS:
        digest.update(Path(__file__).with_name(f"{source}.py").read_bytes())
    protocol = builtin_schedules().get(specification.protocol, Path(specification.protocol))
    digest.update(protocol.read_bytes())
    return digest.hexdigest()[:16]
