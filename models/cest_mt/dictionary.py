"""Dictionary matching: the classical fingerprinting estimate, as baseline for the networks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training_set import simulate_values

_LARGEST_PRODUCT = 2**24
"""Voxels times entries compared at once: 64 MiB of float32."""


@dataclass(frozen=True)
class Dictionary:
    """Simulated fingerprints on a grid, grouped by what maps tell about a voxel.

    Attributes:
        values: (entries, varied) in the order and units of ``NetworkSpecification.varied``.
        unit_signals: (entries, images), each of Euclidean norm 1.
        group: (entries,) number of the grid cell of the known quantities; zeros without any.
        known: names of the quantities that maps tell, outermost grid dimension first.
        levels: grid values of each known quantity.
    """

    values: Tensor
    unit_signals: Tensor
    group: Tensor
    known: tuple[str, ...]
    levels: tuple[Tensor, ...]


@dataclass(frozen=True)
class Match:
    """The best entry for each voxel.

    Attributes:
        values: (voxels, varied) of the best entry.
        dot_product: (voxels,) between the unit signals of voxel and entry, at most 1.
    """

    values: Tensor
    dot_product: Tensor


def build_dictionary(
    specification: NetworkSpecification,
    grid: Mapping[str, Sequence[float]],
    known: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Dictionary:
    """Simulates every combination of the grid.

    Args:
        specification: whose schedule and pools are simulated.
        grid: levels of each of ``specification.varied``, in its units.
        known: quantities that a map tells of each voxel: only entries of the nearest level are
            compared with it.
        device: where entries are simulated and kept, and voxels will be compared.

    Returns:
        The dictionary.

    Raises:
        ValueError: the grid lacks a quantity.
    """
    names = [quantity.name for quantity in specification.varied]
    missing = [name for name in names if name not in grid]
    if missing:
        raise ValueError(f"the dictionary grid of {specification.name} lacks {', '.join(missing)}")
    order = [*known, *(name for name in names if name not in known)]
    combinations = torch.tensor(
        list(itertools.product(*(grid[name] for name in order))), dtype=torch.float32
    )
    cells = int(np.prod([len(grid[name]) for name in known]))
    values = combinations[:, [order.index(name) for name in names]].to(device)
    return Dictionary(
        values=values,
        unit_signals=torch.nn.functional.normalize(simulate_values(specification, values), dim=1),
        group=torch.arange(cells, device=device).repeat_interleave(len(values) // cells),
        known=tuple(known),
        levels=tuple(values.new_tensor(grid[name]) for name in known),
    )


def match(dictionary: Dictionary, signal: Tensor, known: Mapping[str, Tensor]) -> Match:
    """Finds the entry with the largest normalised dot product for every voxel.

    Args:
        dictionary: what is compared.
        signal: (voxels, images), any positive scale, on the dictionary's device.
        known: (voxels,) value of each of the dictionary's known quantities.

    Returns:
        The best entries.
    """
    cell = torch.zeros(len(signal), dtype=torch.long, device=signal.device)
    for name, levels in zip(dictionary.known, dictionary.levels, strict=True):
        nearest = (known[name][:, None] - levels).abs().argmin(dim=1)
        cell = cell * len(levels) + nearest
    unit = torch.nn.functional.normalize(signal, dim=1)
    values = signal.new_empty(len(signal), dictionary.values.shape[1])
    best = signal.new_empty(len(signal))
    for number in cell.unique():
        entries = (dictionary.group == number).nonzero()[:, 0]
        voxels = (cell == number).nonzero()[:, 0]
        for part in voxels.split(max(1, _LARGEST_PRODUCT // len(entries))):
            largest, index = (unit[part] @ dictionary.unit_signals[entries].T).max(dim=1)
            best[part] = largest
            values[part] = dictionary.values[entries[index]]
    return Match(values, best)


def levels_in_use(
    grid: Mapping[str, Sequence[float]], told: Mapping[str, Tensor]
) -> dict[str, Sequence[float]]:
    """The grid without levels of known quantities that are nearest to no voxel.

    Matching gives the same with it, and there is less to simulate.

    Args:
        grid: levels of each quantity.
        told: (voxels,) value of each known quantity.
    """
    used = dict(grid)
    for name, values in told.items():
        levels = values.new_tensor(grid[name])
        nearest = (values[:, None] - levels).abs().argmin(dim=1).unique().tolist()
        used[name] = [grid[name][index] for index in nearest]
    return used


LARGININE_GRID = {
    "solute_fraction": (np.arange(10, 120, 5) * 3 / 1100).tolist(),
    "solute_exchange_rate": np.arange(100.0, 1410.0, 10.0).tolist(),
    "t1": np.arange(2700.0, 3200.0, 100.0).tolist(),
    "t2": np.arange(400.0, 1350.0, 50.0).tolist(),
}
"""The published L-arginine dictionary (doi 10.1038/s41596-025-01152-w): 273,790 entries."""

MT_GRID = {
    "mt_fraction": np.arange(1.0, 31.0, 1.0).tolist(),
    "mt_exchange_rate": np.arange(4.0, 101.0, 4.0).tolist(),
    "t1": np.geomspace(500.0, 3500.0, 12).tolist(),
    "t2": np.geomspace(25.0, 1000.0, 10).tolist(),
    "b0_shift": [0.0],
    "b1_scale": np.arange(0.6, 1.45, 0.1).tolist(),
}
"""Semisolid MT: the published steps of fraction and rate (doi 10.1038/s42005-025-02063-8),
with B1, which the published dictionary leaves at 1, and fewer levels of T1 and T2."""

AMIDE_GRID = {
    "solute_fraction": np.linspace(0.05, 1.0, 16).tolist(),
    "solute_exchange_rate": np.linspace(20.0, 500.0, 16).tolist(),
    "t1": np.geomspace(600.0, 2400.0, 5).tolist(),
    "t2": np.geomspace(30.0, 240.0, 4).tolist(),
    "b0_shift": [-0.4, 0.0, 0.4],
    "b1_scale": [0.7, 1.0, 1.3],
    "mt_fraction": [4.0, 11.0, 18.0, 26.0],
    "mt_exchange_rate": [15.0, 40.0, 75.0],
}
"""Amide: maps and the semisolid pool in coarse steps, 553,000 entries."""

GRIDS = {"mt_3t": MT_GRID, "amide_3t": AMIDE_GRID, "larginine_3t": LARGININE_GRID}
