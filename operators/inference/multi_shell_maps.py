"""Kurtosis and NODDI maps of a series of several shells, with their SD, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
import torch
from torch import Tensor

from models.diffusion.kurtosis_fit import KurtosisFit, KurtosisLeastSquares
from models.diffusion.multi_shell import MultiShell, adapt_shells
from models.diffusion.noddi_fit import NoddiFit, NoddiGaussNewton
from models.diffusion.prior import RunNetwork
from operators.inference.array_frame import array_axes, directions_in_array
from operators.inference.model_choice import ChosenModels
from operators.inference.settings import PriorSettings
from operators.inference.tensor_posterior import adaptation_settings, neighbours_only
from operators.inference.threads import single_threaded
from operators.vocabulary.acquisition import GradientTable

KURTOSIS_MAPS = ("mean_kurtosis", "axial_kurtosis", "radial_kurtosis")
NODDI_MAPS = ("neurite_density", "orientation_dispersion", "free_water_fraction")
#: Fits of disturbed data from which the SD of a voxel is taken; it is then good to a third.
DRAWS = 4
#: Free water fraction above which NDI and ODI describe next to nothing.
MOSTLY_WATER = 0.9
#: Voxels that are fitted at once: some 200 MB.
_CHUNK_VOXELS = 10_000

Fits = dict[str, Tensor]


@dataclass
class MultiShellMaps:
    """What the models of several shells give.

    Attributes:
        maps: by quantity name, SD maps among them; float32 (slices, rows, columns), 0 outside.
        constrained: voxels of which the plain kurtosis broke a constraint.
        limited: voxels with a kurtosis at the bound of 0 or 10.
        mostly_water: voxels whose NDI and ODI mean nothing.
        voxels: number of voxels that were fitted.
    """

    maps: dict[str, np.ndarray] = field(default_factory=dict)
    constrained: int = 0
    limited: int = 0
    mostly_water: int = 0
    voxels: int = 0


def multi_shell_maps(
    signals: np.ndarray,
    table: GradientTable,
    region: np.ndarray,
    geometry: hd.VolumeGeometry,
    models: ChosenModels,
    settings: PriorSettings,
    network: RunNetwork | None,
    noise: np.ndarray,
) -> MultiShellMaps:
    """Fit the chosen models to every voxel of a region.

    With the prior, each shell is adapted by itself and the models are fitted to the shells'
    predictions; voxels at the noise floor are left out. Without it they are fitted to the data.
    The SD is the root mean square change of a value over fits of disturbed data: draws from the
    shells' posterior, or predictions with noise added.

    Args:
        signals: (slices, rows, columns, volumes).
        table: of the volumes.
        region: boolean (slices, rows, columns), not empty.
        geometry: of the grid.
        models: which, and from which volumes.
        settings: weight and seeds of the prior.
        network: the prior, or None without it.
        noise: (voxels of the region,) SD of the noise, in the unit of the signals.
    """
    volumes = models.volumes
    b_values, directions = table.b_values[volumes], table.directions[volumes]
    with single_threaded():
        if network is not None and settings.weight > 0:
            shells = adapt_shells(
                neighbours_only(signals[..., volumes], geometry),
                neighbours_only(region, geometry),
                b_values,
                directions_in_array(directions, array_axes(geometry)),
                geometry.spacing,
                network,
                adaptation_settings(settings, True),
            )
            usable = ~shells.shells[0].unsupported
            return _collect(region, usable, _adapted(shells, models, settings.first_seed))
        measured = torch.from_numpy(signals[region][:, volumes])
        work = _of_data(measured, noise, (b_values, directions), models, settings.first_seed)
        return _collect(region, torch.ones(len(measured), dtype=torch.bool), work)


#: Fits of a chunk of voxels: the one that is shown, and those of disturbed data.
Work = Callable[[Tensor], tuple[Fits, list[Fits]]]


def _adapted(shells: MultiShell, models: ChosenModels, first_seed: int) -> Work:
    channels = [shell.channels for shell in shells.shells]
    draws = [shells.sample(first_seed + number) for number in range(DRAWS)]

    def fit(sample: list[Tensor], voxels: Tensor) -> Fits:
        part = [values[voxels] for values in sample]
        return _values(
            shells.kurtosis(part) if models.kurtosis else None,
            shells.noddi(part) if models.noddi else None,
        )

    return lambda voxels: (fit(channels, voxels), [fit(draw, voxels) for draw in draws])


def _of_data(
    measured: Tensor,
    noise: np.ndarray,
    table: tuple[np.ndarray, np.ndarray],
    models: ChosenModels,
    first_seed: int,
) -> Work:
    kurtosis = KurtosisLeastSquares(*table) if models.kurtosis else None
    noddi = NoddiGaussNewton(*table) if models.noddi else None
    generator = torch.Generator().manual_seed(first_seed)
    sigma = torch.as_tensor(noise, dtype=torch.float32)[:, None]

    def work(voxels: Tensor) -> tuple[Fits, list[Fits]]:
        signals = measured[voxels]
        by_kurtosis = kurtosis.fit(signals) if kurtosis else None
        by_noddi = noddi.fit(signals) if noddi else None
        draws = []
        for _ in range(DRAWS):
            disturbance = sigma[voxels] * torch.randn(signals.shape, generator=generator)
            draws.append(
                _values(
                    kurtosis.fit(signals - by_kurtosis.residuals + disturbance)
                    if kurtosis and by_kurtosis
                    else None,
                    noddi.fit(by_noddi.predicted + disturbance) if noddi and by_noddi else None,
                )
            )
        return _values(by_kurtosis, by_noddi), draws

    return work


def _values(kurtosis: KurtosisFit | None, noddi: NoddiFit | None) -> Fits:
    values: Fits = {}
    if kurtosis is not None:
        values |= {name: getattr(kurtosis, name) for name in KURTOSIS_MAPS}
        values |= {"constrained": kurtosis.constrained, "limited": kurtosis.limited}
    if noddi is not None:
        values |= dict(zip(NODDI_MAPS, (noddi.ndi, noddi.odi, noddi.fwf), strict=True))
    return values


def _collect(region: np.ndarray, usable: Tensor, work: Work) -> MultiShellMaps:
    """Run the work chunk by chunk and put values and their spread on the grid."""
    found = MultiShellMaps()
    places = np.argwhere(region)
    for voxels in torch.split(torch.nonzero(usable)[:, 0], _CHUNK_VOXELS):
        values, draws = work(voxels)
        place = tuple(places[voxels.numpy()].T)
        found.voxels += len(voxels)
        for name in (*KURTOSIS_MAPS, *NODDI_MAPS):
            if name not in values:
                continue
            changes = torch.stack([draw[name] - values[name] for draw in draws]).double()
            for target, result in (
                (name, values[name]),
                (f"{name}_sd", changes.square().mean(dim=0).sqrt()),
            ):
                grid = found.maps.setdefault(target, np.zeros(region.shape, np.float32))
                single = result.to(torch.float32).numpy()
                grid[place] = np.where(np.isfinite(single), single, np.float32(0))
        if "constrained" in values:
            found.constrained += int(values["constrained"].sum())
            found.limited += int(values["limited"].sum())
        if "free_water_fraction" in values:
            found.mostly_water += int((values["free_water_fraction"] > MOSTLY_WATER).sum())
    return found
