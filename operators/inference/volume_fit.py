"""The tensor of every voxel of a series, slice by slice, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.design import PARAMETERS
from models.diffusion.scalars import (
    axial_diffusivity,
    fractional_anisotropy,
    mean_diffusivity,
    radial_diffusivity,
)
from models.diffusion.tensor_fit import (
    Method,
    TensorFit,
    TensorLeastSquares,
)
from operators.inference.threads import single_threaded
from operators.vocabulary.acquisition import GradientTable
from operators.vocabulary.quantity import QUANTITIES

MAPS = (
    "b0",
    "mean_diffusivity",
    "fractional_anisotropy",
    "axial_diffusivity",
    "radial_diffusivity",
    "diffusion_residual",
)
#: Voxels that are fitted at once: some 25 MB for a hundred volumes.
CHUNK_VOXELS = 8192
#: Voxels of a slice that stand for it in the medians of its residuals.
SAMPLE_VOXELS = 512

#: Indices of voxels: slices, rows, columns.
Place = tuple[int | np.ndarray, np.ndarray, np.ndarray]


@dataclass
class VolumeFit:
    """The fit of every analysed voxel of a series.

    Attributes:
        maps: by quantity name, float32 (slices, rows, columns), as fitted; 0 where not fitted
            and where the value is not finite.
        tensor: float32 (slices, rows, columns, 6) in mm²/s, LPS, as fitted; 0 where not finite.
        principal: float32 (slices, rows, columns, 3) first eigenvector, LPS.
        fitted: boolean (slices, rows, columns), the voxels that were fitted.
        analysed: those of which every map is finite and physically possible.
        region: those over which the residuals of a slice are summed up.
        deviation: (slices, volumes) median absolute residual in the region.
        bias: (slices, volumes) median residual over median predicted signal there.
        voxels: (slices,) number of fitted voxels in the region.
        noise: float32 (slices, rows, columns) SD of the residuals; 0 where volumes are too
            few for it.
        outside: by quantity name, boolean (slices, rows, columns): the value is outside its
            valid range.
        raised_signals: boolean, a signal was fitted as a larger one.
        left_out_signals: boolean, a signal was not positive and left out.
        raised_eigenvalues: boolean, an eigenvalue was below the minimum.
        unweighted: boolean, the weighted equations were singular.
    """

    maps: dict[str, np.ndarray]
    tensor: np.ndarray
    principal: np.ndarray
    fitted: np.ndarray
    analysed: np.ndarray
    region: np.ndarray
    deviation: np.ndarray
    bias: np.ndarray
    voxels: np.ndarray
    noise: np.ndarray
    outside: dict[str, np.ndarray]
    raised_signals: np.ndarray
    left_out_signals: np.ndarray
    raised_eigenvalues: np.ndarray
    unweighted: np.ndarray


def fit_volume(
    signals: np.ndarray,
    table: GradientTable,
    mask: np.ndarray,
    region: np.ndarray,
    method: Method = "weighted",
    minimum_signal: float | None = None,
    chunk_voxels: int = CHUNK_VOXELS,
) -> VolumeFit:
    """Fit every voxel of a mask, slice by slice, in bounded memory.

    Args:
        signals: (slices, rows, columns, volumes).
        table: of the volumes.
        mask: boolean (slices, rows, columns), voxels to fit.
        region: boolean, same shape: voxels of which the residuals are summed up (the brain).
        method: which least squares.
        minimum_signal: smaller signals are fitted as this one; None leaves out what is not
            positive.
        chunk_voxels: how many are fitted at once; changes memory only.
    """
    fitter = TensorLeastSquares(table.b_values, table.directions, method, minimum_signal)
    shape, volumes = signals.shape[:3], signals.shape[3]
    fit = VolumeFit(
        maps={name: np.zeros(shape, np.float32) for name in MAPS},
        tensor=np.zeros((*shape, 6), np.float32),
        principal=np.zeros((*shape, 3), np.float32),
        fitted=mask.copy(),
        analysed=np.zeros(shape, dtype=bool),
        region=mask & region,
        deviation=np.zeros((shape[0], volumes)),
        bias=np.zeros((shape[0], volumes)),
        voxels=(mask & region).sum(axis=(1, 2)),
        noise=np.zeros(shape, np.float32),
        outside={name: np.zeros(shape, dtype=bool) for name in MAPS},
        raised_signals=np.zeros(shape, dtype=bool),
        left_out_signals=np.zeros(shape, dtype=bool),
        raised_eigenvalues=np.zeros(shape, dtype=bool),
        unweighted=np.zeros(shape, dtype=bool),
    )
    with single_threaded():
        for position in np.flatnonzero(mask.any(axis=(1, 2))):
            _fit_slice(fitter, fit, signals, int(position), chunk_voxels)
    return fit


def _fit_slice(
    fitter: TensorLeastSquares,
    fit: VolumeFit,
    signals: np.ndarray,
    position: int,
    chunk_voxels: int,
) -> None:
    rows, columns = np.nonzero(fit.fitted[position])
    # Every so many voxels of the region, spread evenly over it.
    counted = np.cumsum(fit.region[position, rows, columns]) * fit.region[position, rows, columns]
    step = max(1, -(-int(fit.voxels[position]) // SAMPLE_VOXELS))
    chosen = (counted > 0) & (counted % step == 0)
    sampled = []
    for start in range(0, len(rows), chunk_voxels):
        chunk = slice(start, start + chunk_voxels)
        place = (position, rows[chunk], columns[chunk])
        measured = torch.from_numpy(signals[place])
        found = fitter.fit(measured)
        _keep(fit, found, place)
        sample = torch.from_numpy(chosen[chunk])
        # Volumes first: medians are then taken over contiguous voxels.
        pair = measured[sample].T.float(), found.residuals[sample].T.float()
        sampled.append(torch.stack(pair))
    signal, residual = torch.cat(sampled, dim=2).numpy()
    if signal.shape[1]:
        fit.deviation[position] = _median(np.abs(residual))
        with np.errstate(divide="ignore", invalid="ignore"):
            fit.bias[position] = _median(residual) / _median(signal - residual)


def _median(values: np.ndarray) -> np.ndarray:
    """Along the last axis, by sorting, which NumPy does several times faster than selecting."""
    ordered = np.sort(values, axis=-1)
    count = values.shape[-1]
    return (ordered[..., (count - 1) // 2].astype(np.float64) + ordered[..., count // 2]) / 2


def _keep(fit: VolumeFit, found: TensorFit, place: Place) -> None:
    """Put the results of a chunk where they belong, and count what is not right with them."""
    squares = found.residuals.square().sum(dim=1)
    volumes = found.residuals.shape[1]
    put_scalars(
        fit,
        place,
        found.s0,
        found.eigenvalues,
        (squares / volumes).sqrt(),
        (found.tensor, found.principal),
    )
    if volumes > PARAMETERS:
        fit.noise[place] = _finite((squares / (volumes - PARAMETERS)).sqrt())
    fit.raised_signals[place] = (found.raised_signals > 0).numpy()
    fit.left_out_signals[place] = (found.left_out_signals > 0).numpy()
    fit.raised_eigenvalues[place] = (found.raised_eigenvalues > 0).numpy()
    fit.unweighted[place] = found.unweighted.numpy()


def put_scalars(
    fit: VolumeFit,
    place: Place,
    s0: Tensor,
    eigenvalues: Tensor,
    residual: Tensor,
    tensor: tuple[Tensor, Tensor],
) -> None:
    """Put tensors and their scalars into some voxels, and note which values are impossible.

    Args:
        fit: changed in place.
        place: indices of the voxels: slices, rows, columns.
        s0: (voxels,) signal at b = 0.
        eigenvalues: (voxels, 3) descending, mm²/s.
        residual: (voxels,) root mean square residual, in the unit of the signals.
        tensor: (voxels, 6) elements in mm²/s and (voxels, 3) first eigenvector, LPS.
    """
    values = {
        "b0": s0,
        "mean_diffusivity": mean_diffusivity(eigenvalues),
        "fractional_anisotropy": fractional_anisotropy(eigenvalues),
        "axial_diffusivity": axial_diffusivity(eigenvalues),
        "radial_diffusivity": radial_diffusivity(eigenvalues),
        "diffusion_residual": 100 * residual / s0,
    }
    possible = np.ones(len(s0), dtype=bool)
    for name, value in values.items():
        low, high = QUANTITIES[name].valid_range
        single = value.to(torch.float32).numpy()
        # Written so that values that are not numbers count as outside.
        inside = (single >= low) & (single <= high)
        possible &= inside
        fit.outside[name][place] = ~inside
        fit.maps[name][place] = _finite(value)
    fit.analysed[place] = possible
    fit.tensor[place], fit.principal[place] = map(_finite, tensor)


def _finite(values: Tensor) -> np.ndarray:
    """float32, 0 where it is not a number."""
    single = values.to(torch.float32).numpy()
    return np.where(np.isfinite(single), single, np.float32(0))
