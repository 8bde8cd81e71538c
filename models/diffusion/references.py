"""What the maps of sparse series are compared with, and how far apart even perfect maps would be.

A reference is itself a fit of noisy volumes, so that a part of every error is its own. How large a
part is found by simulation: noise is added to the signals that a kurtosis fit of all volumes
predicts, and the noise-free maps are compared with the fit of those noisy volumes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from models.diffusion.channels import mandel_to_tensor
from models.diffusion.eigen import symmetric_eigen
from models.diffusion.evaluation_series import best_subset
from models.diffusion.kurtosis_fit import KurtosisLeastSquares
from models.diffusion.linear_adaptation import LinearAdaptation
from models.diffusion.scalars import fractional_anisotropy
from models.diffusion.series import Series
from models.diffusion.signal import dki_signal
from models.diffusion.tensor_fit import TensorLeastSquares

#: FA from which on a voxel of a full fit is white matter.
WHITE_MATTER_FA = 0.45
_SMALLEST_EIGENVALUE = 1e-3  # µm²/ms
_SMALLEST_SIGNAL = 1e-3

#: FA, MD (µm²/ms) and V1 (voxels, 3).
Scalars = tuple[np.ndarray, np.ndarray, np.ndarray]


def adaptation(series: Series, volumes: np.ndarray) -> LinearAdaptation:
    """The steps of the adaptation on some volumes of a series."""
    return LinearAdaptation(
        series.signals[..., volumes],
        series.brain,
        series.b_values[volumes],
        series.directions[volumes],
        tuple(series.voxel.tolist()),
    )


def scalars(channels: Tensor) -> Scalars:
    """FA, MD and V1 of DTI channels."""
    tensor = torch.as_tensor(mandel_to_tensor(channels[:, 1:7].numpy()))
    values, first = symmetric_eigen(tensor.T.contiguous())
    values = values.T.clamp(min=_SMALLEST_EIGENVALUE)
    return fractional_anisotropy(values).numpy(), values.mean(dim=1).numpy(), first.T.numpy()


def errors(
    found: Scalars, reference: Scalars, white: np.ndarray
) -> tuple[float, float, float, float]:
    """FA MAE, MD MAE (1e-3 mm²/s), the latter in tissue, and median angle of V1 in WM (°)."""
    difference = np.abs(found[1] - reference[1])
    tissue = (reference[1] > 0.2) & (reference[1] < 1.2)
    cosine = np.abs((found[2] * reference[2]).sum(axis=1)[white]).clip(0, 1)
    return (
        float(np.abs(found[0] - reference[0]).mean()),
        float(difference.mean()),
        float(difference[tissue].mean()),
        float(np.degrees(np.median(np.arccos(cosine)))),
    )


def inside_rim(brain: np.ndarray) -> np.ndarray:
    """Which voxels of a mask have all their neighbours in its slice; bool (voxels,)."""
    return np.asarray(ndimage.binary_erosion(brain, np.ones((1, 3, 3)))[brain])


def within(found: Scalars, voxels: np.ndarray) -> Scalars:
    """Scalars of some voxels."""
    return found[0][voxels], found[1][voxels], found[2][voxels]


def as_dipy(series: Series, volumes: np.ndarray) -> Scalars:
    """Scalars of the weighted fit in which signals that are not positive count as 1e-4."""
    fit = TensorLeastSquares(
        series.b_values[volumes], series.directions[volumes], minimum_signal=1e-4
    ).fit(torch.from_numpy(series.signals[series.brain][:, volumes]))
    values = (fit.eigenvalues * 1e3).clamp(min=_SMALLEST_EIGENVALUE)
    return fractional_anisotropy(values).numpy(), values.mean(dim=1).numpy(), fit.principal.numpy()


def predicted_by_kurtosis(series: Series, volumes: np.ndarray, table: np.ndarray) -> Series:
    """Noise-free volumes that the kurtosis fit of some volumes predicts.

    Kurtosis is what tells shells apart: it lets volumes of a second shell say what a tensor would
    find on the first.

    Args:
        series: of several shells.
        volumes: indices of the volumes fitted, of two shells or more.
        table: indices of the volumes predicted.
    """
    fit = KurtosisLeastSquares(series.b_values[volumes], series.directions[volumes]).fit(
        torch.from_numpy(series.signals[series.brain][:, volumes])
    )
    b, g = series.b_values[table], series.directions[table]
    predicted = dki_signal(
        fit.s0, fit.tensor, fit.kurtosis, torch.as_tensor(b), torch.as_tensor(g)
    ).numpy()
    signals = np.zeros((*series.brain.shape, len(table)), dtype=np.float32)
    signals[series.brain] = np.maximum(predicted, _SMALLEST_SIGNAL)
    return replace(series, signals=signals, b_values=b, directions=g)


def errors_of_truth(
    series: Series,
    number: int,
    b: float,
    voxels: np.ndarray | None = None,
    repetitions: int = 3,
) -> tuple[tuple[float, float, float, float], tuple[float, float, float, float]]:
    """What the plain fit and the truth score against the volumes that are not in the subset.

    The noise added is what the residuals of a tensor fit of the whole shell show, about which the
    plain fit's score tells whether it suits the series.

    Args:
        series: of several shells, the one with ``b`` the lowest.
        number: directions of the subset.
        b: of the shell, s/mm².
        voxels: bool (voxels,), those that count; all by default.
        repetitions: draws of noise, of which the mean is returned.

    Returns:
        ``errors`` of the plain fit of the subset, and of the noise-free maps.
    """
    low = np.flatnonzero(series.b_values <= b)
    chosen = best_subset(series, number, b)
    clean = predicted_by_kurtosis(series, np.arange(len(series.b_values)), low)
    truth = scalars(adaptation(clean, np.arange(len(low))).plain)
    shell = adaptation(series, best_subset(series, int(np.count_nonzero(series.b_values == b)), b))
    level = np.zeros(series.brain.shape)
    level[series.brain] = shell.noise.numpy() * shell.reference
    subset = np.isin(low, chosen)
    counted = np.ones(len(truth[0]), dtype=bool) if voxels is None else voxels
    generator = np.random.default_rng(0)
    found = []
    for _ in range(repetitions):
        noise = level[..., None] * generator.standard_normal((2, *clean.signals.shape))
        magnitude = np.hypot(clean.signals + noise[0], noise[1]).astype(np.float32)
        noisy = replace(clean, signals=magnitude)
        every = [scalars(adaptation(noisy, np.flatnonzero(x)).plain) for x in (~subset, subset)]
        reference, plain, true = (within(one, counted) for one in (*every, truth))
        white = true[0] > WHITE_MATTER_FA
        found.append([errors(one, reference, white) for one in (plain, true)])
    mean = np.mean(found, axis=0)
    return tuple(mean[0].tolist()), tuple(mean[1].tolist())
