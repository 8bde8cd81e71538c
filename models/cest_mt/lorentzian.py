"""Four-pool Lorentzian fit of a Z-spectrum: water, amide, rNOE and semisolid MT.

Windschuh et al., NMR Biomed. 28:529 (2015), doi 10.1002/nbm.3283, gives the form; amplitudes
and widths are bounded as usual for the brain. The amplitudes describe the spectrum: they
depend on B1, field strength and T1, and are no concentrations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.cest_mt.least_squares import fit
from models.cest_mt.zspectrum import lorentzian_line

WIDEST_OFFSET = 10.0
"""The spectrum must reach so far, ppm, on both sides: nearer to water the broad line of
semisolid MT cannot be told from a constant."""

SHIFT_RANGE = 0.5
"""ppm by which the common shift of all pools may differ from the water frequency given."""

_TILE = 4096


@dataclass(frozen=True)
class Pool:
    """One line, with start and range of amplitude (1) and full width at half maximum (ppm).

    Attributes:
        name: of the pool.
        shift: ppm above water; fixed.
        amplitude: (least, start, largest).
        width: (least, start, largest).
    """

    name: str
    shift: float
    amplitude: tuple[float, float, float]
    width: tuple[float, float, float]


POOLS = (
    Pool("water", 0.0, (0.02, 0.9, 1.0), (0.3, 1.4, 10.0)),
    Pool("amide", 3.5, (0.0, 0.025, 0.3), (0.4, 1.5, 4.0)),
    Pool("rnoe", -3.5, (0.0, 0.05, 0.4), (1.0, 3.0, 6.0)),
    Pool("mt", -2.0, (0.0, 0.1, 1.0), (15.0, 40.0, 100.0)),
)


@dataclass(frozen=True)
class LorentzianFit:
    """The fit of every voxel.

    Attributes:
        amplitude: (voxels, pools) in the order of ``POOLS``, 0 to 1.
        amplitude_sd: (voxels, pools) standard error; infinite where nothing determines it.
        width: (voxels, pools) ppm.
        shift: (voxels,) frequency of water, ppm.
        at_bound: boolean (voxels, pools): amplitude or width lies at an end of its range,
            other than an amplitude of 0: a pool may be absent.
        predicted: (voxels, samples) Z of the fit.
    """

    amplitude: np.ndarray
    amplitude_sd: np.ndarray
    width: np.ndarray
    shift: np.ndarray
    at_bound: np.ndarray
    predicted: np.ndarray


def can_fit_pools(offsets: np.ndarray) -> bool:
    """Whether offsets (ppm) reach far enough, and are enough, for four pools."""
    return bool(
        len(offsets) > 2 * (2 * len(POOLS) + 1)
        and offsets.min() <= -WIDEST_OFFSET
        and offsets.max() >= WIDEST_OFFSET
    )


def pool_spectrum(offsets: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Z = 1 - Σ amplitude (Γ/2)² / ((Γ/2)² + (ω - shift - ω0)²), and its derivative.

    Args:
        offsets: (samples,) ppm.
        parameters: (voxels, 9): shift of water, then amplitude and width of each pool.

    Returns:
        (voxels, samples) and (voxels, samples, 9).
    """
    shift = parameters[:, :1]
    z = torch.ones(len(parameters), len(offsets), dtype=parameters.dtype)
    derivative = torch.zeros(*z.shape, parameters.shape[1], dtype=parameters.dtype)
    for index, pool in enumerate(POOLS):
        amplitude = parameters[:, 1 + 2 * index, None]
        width = parameters[:, 2 + 2 * index, None]
        line, by_centre, by_width = lorentzian_line(offsets, shift + pool.shift, width)
        z -= amplitude * line
        derivative[..., 0] -= amplitude * by_centre
        derivative[..., 1 + 2 * index] = -line
        derivative[..., 2 + 2 * index] = -amplitude * by_width
    return z, derivative


def fit_pools(offsets: np.ndarray, z: np.ndarray, water: np.ndarray) -> LorentzianFit:
    """Amplitude, width and standard errors of four pools in each voxel.

    Args:
        offsets: (samples,) ppm.
        z: (voxels, samples), M over M0, finite.
        water: (voxels,) frequency of water to start from, ppm.

    Raises:
        ValueError: the offsets do not reach far enough, or are too few.
    """
    if not can_fit_pools(offsets):
        raise ValueError(
            f"four pools need {2 * (2 * len(POOLS) + 1) + 1} offsets or more, to "
            f"{WIDEST_OFFSET:g} ppm on both sides"
        )
    x = torch.as_tensor(offsets, dtype=torch.float64)
    bounds = torch.tensor(
        [limits for pool in POOLS for limits in (pool.amplitude, pool.width)], dtype=torch.float64
    )

    def model(parameters: Tensor, _voxels: Tensor) -> tuple[Tensor, Tensor]:
        return pool_spectrum(x, parameters)

    parts = []
    shifts = torch.as_tensor(water, dtype=torch.float64)[:, None]
    for part, shift in zip(
        torch.as_tensor(z, dtype=torch.float64).split(_TILE), shifts.split(_TILE), strict=True
    ):
        least, start, largest = (
            torch.cat([shift + offset, bounds[:, column].expand(len(part), -1)], dim=1)
            for offset, column in ((-SHIFT_RANGE, 0), (0.0, 1), (SHIFT_RANGE, 2))
        )
        parts.append(fit(model, part, start, least, largest))
    values, errors, bound, predicted = (
        torch.cat([getattr(part, name) for part in parts]).numpy()
        for name in ("parameters", "standard_error", "at_bound", "predicted")
    )
    absent = values[:, 1::2] <= bounds[0::2, 0].numpy() + 1e-6
    return LorentzianFit(
        amplitude=values[:, 1::2],
        amplitude_sd=errors[:, 1::2],
        width=values[:, 2::2],
        shift=values[:, 0],
        at_bound=(bound[:, 1::2] | bound[:, 2::2]) & ~absent,
        predicted=predicted,
    )
