"""B0 shift and B1 from a WASABI series: a short off-resonant pulse over a range of offsets.

Schuenke, Windschuh, Roeloffs, Ladd, Bachert, Zaiss, "Simultaneous mapping of water shift and
B1 (WASABI)", Magn. Reson. Med. 77:571 (2017), doi 10.1002/mrm.26133.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.cest_mt.least_squares import fit
from models.cest_mt.schedule import GYROMAGNETIC_RATIO, Pulse, SaturationSchedule

#: Ranges of B0 shift in ppm, B1 over nominal, c and d.
LOWER = (-1.5, 0.2, 0.2, 0.1)
UPPER = (1.5, 2.0, 1.6, 3.0)
_COARSE_SHIFTS = np.linspace(-1.2, 1.2, 49)
_COARSE_SCALES = np.linspace(0.3, 1.8, 31)
_TILE = 8192


@dataclass(frozen=True)
class WasabiPulse:
    """The pulse of a WASABI series.

    Attributes:
        b1: nominal amplitude, µT.
        duration: s.
        larmor_frequency: MHz, Hz per ppm.
    """

    b1: float
    duration: float
    larmor_frequency: float


@dataclass(frozen=True)
class WasabiFit:
    """The fit of every voxel; each (voxels,) float64.

    Attributes:
        b0_shift: ppm.
        b0_shift_sd: ppm.
        b1_scale: B1 over nominal.
        b1_scale_sd: of that.
        at_bound: boolean: a parameter lies at an end of its range.
        predicted: (voxels, samples) Z of the fit.
    """

    b0_shift: np.ndarray
    b0_shift_sd: np.ndarray
    b1_scale: np.ndarray
    b1_scale_sd: np.ndarray
    at_bound: np.ndarray
    predicted: np.ndarray


def wasabi_pulse(schedule: SaturationSchedule) -> WasabiPulse:
    """The one block pulse that a WASABI schedule plays before every sample.

    Raises:
        ValueError: other saturation than one block pulse, or not the same in every image.
    """
    pulses = {
        (round(float(schedule.b1[index]), 9), *_block_pulses(schedule, index))
        for index in range(schedule.number_of_images)
        if index not in schedule.m0_images
    }
    (one, *others) = pulses
    if others or len(one) != 2:
        raise ValueError(
            f"protocol {schedule.name} is no WASABI protocol: it must play one block pulse, the "
            "same before every image but M0"
        )
    b1, duration = one
    return WasabiPulse(b1, duration, schedule.larmor_frequency)


def _block_pulses(schedule: SaturationSchedule, image: int) -> list[float]:
    return [
        round(event.duration, 9)
        for event in schedule.images[image].preparation
        if isinstance(event, Pulse) and len(event.amplitudes) == 1
    ]


def wasabi_signal(pulse: WasabiPulse, offsets: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Z of the WASABI equation, and its derivative.

    Z(ω) = |c - d sin²(atan(b / (ω - ω0))) sin²(π t f0 √(b² + (ω - ω0)²))|, b in ppm.

    Args:
        pulse: that is played.
        offsets: (samples,) ppm.
        parameters: (voxels, 4): B0 shift ω0 (ppm), B1 over nominal, c, d.

    Returns:
        (voxels, samples) and (voxels, samples, 4).
    """
    shift, scale, c, d = (column[:, None] for column in parameters.T)
    nominal = pulse.b1 * GYROMAGNETIC_RATIO / pulse.larmor_frequency
    b = scale * nominal
    x = offsets - shift
    square = b.square() + x.square()
    tilt = b.square() / square
    turn = torch.pi * pulse.duration * pulse.larmor_frequency
    angle = turn * square.sqrt()
    flipped = angle.sin().square()
    inner = c - d * tilt * flipped
    sign = torch.where(inner < 0, -1.0, 1.0).to(inner)
    by_angle = d * tilt * (2 * angle).sin() * turn / square.sqrt()
    by_tilt = 2 * d * flipped * b * x / square.square()
    by_shift = by_angle * x - by_tilt * b
    by_scale = -(by_angle * b + by_tilt * x) * nominal
    derivative = torch.stack(
        [sign * by_shift, sign * by_scale, sign.expand_as(inner), -sign * tilt * flipped], dim=2
    )
    return inner.abs(), derivative


def fit_wasabi(pulse: WasabiPulse, offsets: np.ndarray, z: np.ndarray) -> WasabiFit:
    """B0 shift and B1 of each voxel.

    Started from the best of a grid of B0 shifts and B1 scales, as the equation has many
    minima; c and d are free, which takes T1 and imperfect M0 into account.

    Args:
        pulse: of the schedule.
        offsets: (samples,) ppm.
        z: (voxels, samples), M over M0, finite.
    """
    x = torch.as_tensor(offsets, dtype=torch.float64)
    measured = torch.as_tensor(z, dtype=torch.float64)
    lower = torch.tensor(LOWER, dtype=torch.float64)
    upper = torch.tensor(UPPER, dtype=torch.float64)
    grid = torch.cartesian_prod(torch.as_tensor(_COARSE_SHIFTS), torch.as_tensor(_COARSE_SCALES))
    grid = torch.cat([grid, torch.tensor([[1.0, 2.0]]).double().expand(len(grid), 2)], dim=1)
    known = wasabi_signal(pulse, x, grid)[0]

    def model(parameters: Tensor, _voxels: Tensor) -> tuple[Tensor, Tensor]:
        return wasabi_signal(pulse, x, parameters)

    parts = []
    for part in measured.split(_TILE):
        # Squared distance to every entry, without what all entries share.
        start = grid[(known.square().sum(dim=1) - 2 * part @ known.T).argmin(dim=1)]
        parts.append(fit(model, part, start, lower, upper))
    values, errors, bound, predicted = (
        torch.cat([getattr(part, name) for part in parts]).numpy()
        for name in ("parameters", "standard_error", "at_bound", "predicted")
    )
    return WasabiFit(
        b0_shift=values[:, 0],
        b0_shift_sd=errors[:, 0],
        b1_scale=values[:, 1],
        b1_scale_sd=errors[:, 1],
        at_bound=np.asarray(bound.any(axis=1)),
        predicted=predicted,
    )
