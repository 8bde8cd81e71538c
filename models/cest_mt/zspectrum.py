"""Z-spectra: signals relative to M0, and the water frequency from where the spectrum is lowest.

Signs: a positive offset is a higher frequency than water at the nominal field; where the
local field is higher, the whole spectrum lies at higher offsets. The position of the minimum
is the B0 shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from models.cest_mt.least_squares import LeastSquares, fit
from models.cest_mt.schedule import SaturationSchedule

WATER_WINDOW = 1.5
"""ppm around the lowest place within which the water line is fitted."""

LARGEST_SHIFT = 1.5
"""ppm from nominal within which water is looked for: solutes lie beyond."""

DEEPEST_Z = 0.5
"""Z that saturation at the water frequency falls below; where it does not, as in fat, the
lowest sample is not water."""

_LEAST_SAMPLES = 5
_PLACE_STEP = 0.25
_PLACE_WIDTH = 0.5
"""ppm: step and standard deviation of the first search."""

_TILE = 8192

_LEAST_ERROR = 1 / 3
"""Part of the median standard error below which a voxel counts no more: the error of a fit with
few samples is itself uncertain."""


@dataclass(frozen=True)
class SpectrumSamples:
    """Which images of a schedule sample the spectrum, in ascending order of offset.

    Attributes:
        images: indices of images.
        offsets: (samples,) ppm, strictly ascending.
    """

    images: np.ndarray
    offsets: np.ndarray


def spectrum_samples(schedule: SaturationSchedule) -> SpectrumSamples:
    """The saturated images that are no M0 images, ordered by offset.

    Raises:
        ValueError: the schedule has no M0 image, or samples an offset twice.
    """
    if not schedule.m0_images:
        raise ValueError(f"protocol {schedule.name} has no M0 image, which a Z-spectrum needs")
    images = np.array(
        [
            index
            for index in range(schedule.number_of_images)
            if index not in schedule.m0_images and np.isfinite(schedule.offsets[index])
        ],
        dtype=int,
    )
    images = images[np.argsort(schedule.offsets[images], kind="stable")]
    offsets = schedule.offsets[images]
    repeated = np.unique(offsets[1:][np.diff(offsets) <= 0])
    if len(repeated):
        raise ValueError(
            f"protocol {schedule.name} samples {', '.join(f'{one:g}' for one in repeated)} ppm "
            "more than once"
        )
    return SpectrumSamples(images, offsets)


def normalised(
    signals: np.ndarray, samples: SpectrumSamples, m0_images: tuple[int, ...]
) -> np.ndarray:
    """Z = M / M0; between several M0 images M0 is interpolated linearly in image number.

    Interpolation follows the drift of the scanner over the series; before the first and after
    the last M0 image the nearest one counts.

    Args:
        signals: (voxels, images).
        samples: of the schedule.
        m0_images: indices of the M0 images.

    Returns:
        float64 (voxels, samples). Not finite where M0 is 0.
    """
    order = np.sort(np.asarray(m0_images))
    right = np.clip(np.searchsorted(order, samples.images), 1, max(1, len(order) - 1))
    if len(order) == 1:
        m0 = signals[:, order].astype(np.float64)
    else:
        first, second = order[right - 1], order[right]
        share = np.clip((samples.images - first) / (second - first), 0, 1)
        m0 = (1 - share) * signals[:, first] + share * signals[:, second]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(signals[:, samples.images] / m0, dtype=np.float64)


def can_locate_water(offsets: np.ndarray) -> bool:
    """Whether the offsets sample the water line densely enough for :func:`water_line`."""
    return int(np.count_nonzero(np.abs(offsets) <= WATER_WINDOW)) >= _LEAST_SAMPLES


class WaterLine(NamedTuple):
    """Where water is found in each voxel.

    Attributes:
        shift: (voxels,) ppm; NaN where it is not found.
        standard_error: (voxels,) ppm, of the fit: noise, and what is no Lorentzian line.
    """

    shift: np.ndarray
    standard_error: np.ndarray


def water_line(offsets: np.ndarray, z: np.ndarray) -> WaterLine:
    """Frequency of water in each voxel: centre of a Lorentzian line fitted to the minimum.

    The line Z = c - A (Γ/2)² / ((Γ/2)² + (ω - ω0)²) is fitted to the samples within
    ``WATER_WINDOW`` of the lowest place, widened to the nearest five where fewer lie there,
    so that the result is finer than the sampling and a single noisy sample does not decide.

    Args:
        offsets: (samples,) ppm, ascending.
        z: (voxels, samples).

    Returns:
        NaN where the minimum lies outside ``LARGEST_SHIFT`` or is not below ``DEEPEST_Z``, or
        where a value is not finite.

    Raises:
        ValueError: too few samples near the nominal water frequency.
    """
    if not can_locate_water(offsets):
        raise ValueError(
            f"fewer than {_LEAST_SAMPLES} offsets lie within {WATER_WINDOW:g} ppm of water: its "
            "frequency cannot be taken from this spectrum"
        )
    usable = np.isfinite(z).all(axis=1)
    near = np.abs(offsets) <= LARGEST_SHIFT
    usable[usable] = z[np.ix_(usable, near)].min(axis=1) < DEEPEST_Z
    shift, error = np.full((2, len(z)), np.nan)
    rows = np.flatnonzero(usable)
    # Voxels with the same lowest place are fitted to the same samples.
    place = _lowest_place(offsets, z[rows])
    for guess in np.unique(place):
        distance = np.abs(offsets - guess)
        window = np.argsort(distance, kind="stable")[:_LEAST_SAMPLES]
        window = np.union1d(window, np.flatnonzero(distance <= WATER_WINDOW))
        mine = rows[place == guess]
        for part in np.array_split(mine, -(-len(mine) // _TILE)):
            found = _fitted_line(offsets[window], z[np.ix_(part, window)], float(guess))
            centre = found.parameters[:, 0].numpy()
            lost = (np.abs(centre - guess) > 0.99 * WATER_WINDOW) | (np.abs(centre) > LARGEST_SHIFT)
            shift[part] = np.where(lost, np.nan, centre)
            error[part] = np.where(lost, np.nan, found.standard_error[:, 0].numpy())
    return WaterLine(shift, error)


def _lowest_place(offsets: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(voxels,) ppm where the spectrum is lowest, averaged so that no one sample decides."""
    places = np.arange(-LARGEST_SHIFT, LARGEST_SHIFT + _PLACE_STEP / 2, _PLACE_STEP)
    weights = np.exp(-0.5 * ((places[:, None] - offsets) / _PLACE_WIDTH) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(places[np.argmin(z @ weights.T, axis=1)])


def _fitted_line(offsets: np.ndarray, z: np.ndarray, guess: float) -> LeastSquares:
    x = torch.as_tensor(offsets, dtype=torch.float64)
    measured = torch.as_tensor(z, dtype=torch.float64)
    top, bottom = measured.amax(dim=1), measured.amin(dim=1)
    start = torch.stack(
        [
            torch.full_like(top, guess),
            (top - bottom).clamp(min=0.05),
            torch.full_like(top, 1.0),
            top,
        ],
        dim=1,
    )
    lower = torch.tensor([guess - WATER_WINDOW, 0.0, 0.1, 0.0], dtype=torch.float64)
    upper = torch.tensor([guess + WATER_WINDOW, 3.0, 10.0, 3.0], dtype=torch.float64)

    def line(parameters: Tensor, _voxels: Tensor) -> tuple[Tensor, Tensor]:
        centre, amplitude, width, level = (column[:, None] for column in parameters.T)
        shape, by_centre, by_width = lorentzian_line(x, centre, width)
        derivative = torch.stack(
            [-amplitude * by_centre, -shape, -amplitude * by_width, torch.ones_like(shape)], dim=2
        )
        return level - amplitude * shape, derivative

    return fit(line, measured, start, lower, upper, iterations=30)


def lorentzian_line(x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A line of height 1 and its derivatives by centre and by width.

    Args:
        x: (samples,) ppm.
        centre: (voxels, 1) ppm.
        width: (voxels, 1) full width at half maximum, ppm.

    Returns:
        three times (voxels, samples).
    """
    half = width / 2
    distance = x - centre
    total = half.square() + distance.square()
    shape = half.square() / total
    by_centre = 2 * shape * distance / total
    by_width = half * distance.square() / total.square()
    return shape, by_centre, by_width


def smoothed_field(shift: np.ndarray, standard_error: np.ndarray) -> np.ndarray:
    """A B0 map without the noise of its voxels: in-plane median of 3 x 3, then Gaussian.

    The field of a body varies over many voxels, the estimate from voxel to voxel. The
    Gaussian has a standard deviation of one voxel, and voxels count by their inverse variance:
    where fat or fluid spoils the line of water, its neighbours decide. Voxels without a value
    take no part.

    Args:
        shift: (slices, rows, columns) ppm, NaN where unknown.
        standard_error: same shape, ppm.

    Returns:
        same shape; NaN where ``shift`` is.
    """
    known = np.isfinite(shift)
    padded = np.pad(shift, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    middle = np.zeros(shift.shape)
    middle[known] = np.nanmedian(around[known].reshape(-1, 9), axis=1)
    weight = np.zeros(shift.shape)
    least = _LEAST_ERROR * np.median(standard_error[known]) if known.any() else 1.0
    weight[known] = np.maximum(standard_error[known], max(least, 1e-9)) ** -2.0
    width = (0, 1, 1)
    total = ndimage.gaussian_filter(middle * weight, width)
    weights = ndimage.gaussian_filter(weight, width)
    return np.where(known, total / np.where(known, weights, 1), np.nan)
