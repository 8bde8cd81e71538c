"""NODDI of many voxels at once: Gauss-Newton on the Legendre moments of each shell.

With the mean orientation fixed to the first eigenvector of the diffusion tensor (as AMICO does:
Daducci et al., NeuroImage 105:32 (2015), doi 10.1016/j.neuroimage.2014.10.026) every signal of
a shell is a short Legendre series in the angle to it, so the sum of squares over all volumes
depends on the data through a few moments a shell. An iteration costs the same for 20 volumes as
for 200. A coarse search over the whole parameter space precedes the iterations.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.diffusion.noddi import (
    FREE_DIFFUSIVITY,
    PARALLEL_DIFFUSIVITY,
    SMALLEST_ODI,
    dispersion_table,
    legendre,
    stick_moments,
)
from models.diffusion.tensor_fit import TensorLeastSquares

#: Volumes whose b differ by less, relatively, count as one shell.
SHELL_TOLERANCE = 0.05
#: Legendre degrees 0, 2, … 12 of a shell; what lies above is below 1e-4 for b up to 3000 s/mm².
_DEGREES = 7
_ITERATIONS = 12
_LARGEST_ATTENUATION = 20.0
_ATTENUATION_STEPS = 2001
_START_DENSITY = np.linspace(0.1, 0.9, 6)
_START_DISPERSION = np.array([0.03, 0.08, 0.16, 0.3, 0.5, 0.75])
_START_WATER = np.array([0.0, 0.3, 0.7, 0.95])
# Keeps parameters that the data say nothing of (NDI and ODI of pure water) where they start.
_DAMPING = 1e-4


@dataclass(frozen=True)
class NoddiFit:
    """NODDI of a batch of voxels; float32.

    Attributes:
        s0: (voxels,) fitted signal at b = 0, in the unit of the signals.
        ndi: (voxels,) neurite density index, 0 to 1.
        odi: (voxels,) orientation dispersion index, 0 to 1.
        fwf: (voxels,) free water fraction, 0 to 1.
        orientation: (voxels, 3) mean orientation, LPS; sign arbitrary.
        precision: (voxels, 4, 4) normal matrix of (S0 relative to ``s0``, NDI, ODI, FWF), in
            units of ``s0`` squared: its inverse times (noise SD / S0)² is the covariance.
        predicted: (voxels, volumes) signals of the fit.
    """

    s0: Tensor
    ndi: Tensor
    odi: Tensor
    fwf: Tensor
    orientation: Tensor
    precision: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class NoddiPrior:
    """A Gaussian belief about (ln S0, NDI, ODI, FWF).

    Attributes:
        mean: (voxels, 4); ln S0 with S0 in the unit of the signals.
        precision: (voxels, 4) reciprocal variances, times the noise variance of the signals
            over S0²; zero says nothing.
    """

    mean: Tensor
    precision: Tensor


def shells(b_values: np.ndarray) -> list[np.ndarray]:
    """Indices of the volumes of each shell, by increasing b; b = 0 is the first."""
    order = np.argsort(b_values, kind="stable")
    groups: list[list[int]] = []
    for index in order:
        b = b_values[index]
        if groups and b - b_values[groups[-1][0]] <= max(50.0, SHELL_TOLERANCE * b):
            groups[-1].append(int(index))
        else:
            groups.append([int(index)])
    return [np.array(group) for group in groups]


class NoddiGaussNewton:
    """Fits NODDI to signals of one gradient table.

    Args:
        b_values: (volumes,) s/mm².
        directions: (volumes, 3) unit vectors, LPS; zero rows where b is zero.

    Raises:
        ValueError: fewer than two shells besides b = 0, or too few directions for a tensor.
    """

    def __init__(self, b_values: np.ndarray, directions: np.ndarray) -> None:
        groups = shells(b_values)
        if len(groups) < 3 or b_values[groups[0]].max() > 50:
            found = ", ".join(f"{b_values[group].mean():.0f}" for group in groups)
            raise ValueError(f"NODDI needs b = 0 and two shells; the b-values are {found} s/mm²")
        self._groups = groups
        self._b = [float(b_values[group].mean()) for group in groups]
        self._directions = torch.as_tensor(directions, dtype=torch.float32)
        self._tensor = TensorLeastSquares(b_values, directions, "weighted")

    def fit(
        self,
        signals: Tensor,
        orientation: Tensor | None = None,
        prior: NoddiPrior | None = None,
    ) -> NoddiFit:
        """Fit a batch that fits into memory: some 5 kB a voxel.

        Args:
            signals: (voxels, volumes), every value finite.
            orientation: (voxels, 3) mean orientation; by default the first eigenvector of a
                weighted tensor fit to all volumes.
            prior: what is believed beforehand; by default nothing.
        """
        if orientation is None:
            orientation = self._tensor.fit(signals).principal
        orientation = orientation.to(torch.float32)
        measured = signals.to(torch.float32)
        scale = measured[:, self._groups[0]].mean(dim=1).clamp(min=1e-6)
        relative = measured / scale[:, None]
        polynomials = legendre(orientation @ self._directions.T)[..., :_DEGREES]
        grams, moments = [], []
        for group in self._groups[1:]:
            part = polynomials[:, group]
            grams.append(part.transpose(1, 2) @ part)
            moments.append((part * relative[:, group, None]).sum(dim=1))
        without = relative[:, self._groups[0]]
        gram, moment = torch.stack(grams, dim=1), torch.stack(moments, dim=1)
        data = _Moments(gram, moment, without.shape[1], without.sum(dim=1))
        belief = None
        if prior is not None:
            mean = prior.mean.to(torch.float32).clone()
            mean[:, 0] = torch.exp(mean[:, 0]) / scale
            belief = (mean, prior.precision.to(torch.float32))
        parameters, normal = self._iterate(data, self._search(data), belief)
        coefficients = self._model(parameters[:, 1:])[0] * parameters[:, :1, None]
        predicted = torch.empty_like(relative)
        predicted[:, self._groups[0]] = parameters[:, :1]
        for index, group in enumerate(self._groups[1:]):
            predicted[:, group] = (polynomials[:, group] @ coefficients[:, index, :, None])[..., 0]
        return NoddiFit(
            s0=parameters[:, 0] * scale,
            ndi=parameters[:, 1],
            odi=parameters[:, 2],
            fwf=parameters[:, 3],
            orientation=orientation,
            precision=normal,
            predicted=predicted * scale[:, None],
        )

    def _search(self, data: _Moments) -> Tensor:
        """(voxels, 4) best point of a coarse grid, with the S0 that suits it best."""
        grid = torch.as_tensor(
            list(itertools.product(_START_DENSITY, _START_DISPERSION, _START_WATER)),
            dtype=torch.float32,
        )
        coefficients = self._model(grid)[0]
        product = torch.einsum("vsl,gsl->vg", data.moment, coefficients) + data.sum_without[:, None]
        outer = torch.einsum("gsl,gsm->gslm", coefficients, coefficients).flatten(1)
        square = data.gram.flatten(1) @ outer.T + data.without
        best = (product.clamp(min=0) ** 2 / square).argmax(dim=1, keepdim=True)
        s0 = product.gather(1, best) / square.gather(1, best)
        return torch.cat((s0.clamp(min=1e-3), grid[best[:, 0]]), dim=1)

    def _iterate(
        self, data: _Moments, start: Tensor, prior: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Gauss-Newton steps, halved where they do not help, within the unit cube."""
        parameters = start
        damping = torch.full_like(start[:, :1], _DAMPING)
        value = self._objective(data, parameters, prior)
        normal = start.new_zeros((len(start), 4, 4))
        for _ in range(_ITERATIONS):
            normal, gradient = self._normal(data, parameters, prior)
            diagonal = normal.diagonal(dim1=1, dim2=2)
            system = normal + torch.diag_embed(damping * diagonal + _DAMPING)
            # A parameter at a bound that it wants to cross is held there.
            held = _at_bound(parameters, gradient)
            keep = (~held).to(system.dtype)
            system = system * keep[:, :, None] * keep[:, None, :] + torch.diag_embed(1 - keep)
            step = torch.cholesky_solve(
                (gradient * keep)[..., None], torch.linalg.cholesky_ex(system)[0]
            )[..., 0]
            candidate = _bounded(parameters + step)
            candidate_value = self._objective(data, candidate, prior)
            better = (candidate_value <= value)[:, None]
            parameters = torch.where(better, candidate, parameters)
            value = torch.where(better[:, 0], candidate_value, value)
            damping = torch.where(better, damping / 5, (damping * 20).clamp(min=1e-2))
        return parameters, normal

    def _objective(
        self, data: _Moments, parameters: Tensor, prior: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        s0 = parameters[:, 0]
        coefficients = self._model(parameters[:, 1:])[0] * s0[:, None, None]
        fitted = (data.gram @ coefficients[..., None])[..., 0]
        value = (coefficients * (fitted - 2 * data.moment)).sum(dim=(1, 2))
        value = value + s0 * (data.without * s0 - 2 * data.sum_without)
        if prior is not None:
            value = value + (prior[1] * (parameters - prior[0]) ** 2).sum(dim=1)
        return value

    def _normal(
        self, data: _Moments, parameters: Tensor, prior: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Normal matrix and descent direction of half the objective."""
        s0 = parameters[:, :1]
        coefficients, slopes = self._model(parameters[:, 1:])
        jacobian = torch.cat((coefficients[:, None], slopes * s0[..., None, None]), dim=1)
        weighted = (data.gram[:, None] @ jacobian[..., None])[..., 0]
        normal = torch.einsum("vpsl,vqsl->vpq", weighted, jacobian)
        rest = data.moment - (data.gram @ (coefficients * s0[..., None])[..., None])[..., 0]
        gradient = torch.einsum("vpsl,vsl->vp", jacobian, rest)
        normal[:, 0, 0] += data.without
        gradient[:, 0] += data.sum_without - data.without * s0[:, 0]
        if prior is not None:
            normal = normal + torch.diag_embed(prior[1])
            gradient = gradient + prior[1] * (prior[0] - parameters)
        return normal, gradient

    def _model(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Legendre coefficients of each shell, S0 = 1, and their derivatives.

        Args:
            parameters: (voxels, 3) NDI, ODI, FWF.

        Returns:
            (voxels, shells, degrees) and (voxels, 3, shells, degrees).
        """
        ndi, fwf = parameters[:, :1, None], parameters[:, 2:, None]
        length = 1 - SMALLEST_ODI
        moments, moments_slope = _interpolate(
            _dispersion(), (parameters[:, 1] - SMALLEST_ODI) / length, length
        )
        order = moments[:, 1]  # mean of the second Legendre polynomial
        order_slope = moments_slope[:, 1]
        b = torch.tensor(self._b[1:])
        sticks = torch.as_tensor(
            np.stack([stick_moments(x * PARALLEL_DIFFUSIVITY)[:_DEGREES] for x in self._b[1:]]),
            dtype=torch.float32,
        )
        intra = moments[:, None] * sticks
        intra_slope = moments_slope[:, None] * sticks
        # Extra-neurite tensor: d (1 - NDI (2 + order) / 3) across, difference d NDI order.
        reach = b * PARALLEL_DIFFUSIVITY
        density, excess = parameters[:, :1], parameters[:, :1] * order[:, None]
        decay = torch.exp(-reach * (1 - density + (density - excess) / 3))[..., None]
        shape, shape_slope = _interpolate(
            _zeppelin(), (reach * excess) / _LARGEST_ATTENUATION, _LARGEST_ATTENUATION
        )
        extra = decay * shape
        by_excess = decay * reach[:, None] * (shape / 3 + shape_slope)
        extra_by_ndi = extra * (2 / 3 * reach[:, None]) + by_excess * order[:, None, None]
        extra_by_odi = by_excess * (density * order_slope[:, None])[..., None]
        free = torch.zeros(len(b), _DEGREES)
        free[:, 0] = torch.exp(-b * FREE_DIFFUSIVITY)
        tissue = ndi * intra + (1 - ndi) * extra
        slopes = torch.stack(
            (
                (1 - fwf) * (intra - extra + (1 - ndi) * extra_by_ndi),
                (1 - fwf) * (ndi * intra_slope + (1 - ndi) * extra_by_odi),
                (free - tissue).expand_as(tissue),
            ),
            dim=1,
        )
        return (1 - fwf) * tissue + fwf * free, slopes


@dataclass(frozen=True)
class _Moments:
    """All that the sum of squares depends on.

    Attributes:
        gram: (voxels, shells, degrees, degrees) products of Legendre polynomials.
        moment: (voxels, shells, degrees) their products with the signals.
        without: number of volumes without weighting.
        sum_without: (voxels,) sum of their signals.
    """

    gram: Tensor
    moment: Tensor
    without: int
    sum_without: Tensor


def _bounded(parameters: Tensor) -> Tensor:
    lower = torch.tensor([1e-3, 0.0, 1e-3, 0.0])
    upper = torch.tensor([torch.inf, 1.0, 1.0, 1.0])
    return torch.minimum(torch.maximum(parameters, lower), upper)


def _at_bound(parameters: Tensor, gradient: Tensor) -> Tensor:
    lower = torch.tensor([1e-3, 0.0, 1e-3, 0.0])
    upper = torch.tensor([torch.inf, 1.0, 1.0, 1.0])
    return ((parameters <= lower) & (gradient < 0)) | ((parameters >= upper) & (gradient > 0))


@functools.cache
def _dispersion() -> Tensor:
    _, table = dispersion_table()
    return torch.as_tensor(table[:, :_DEGREES], dtype=torch.float32)


@functools.cache
def _zeppelin() -> Tensor:
    grid = np.linspace(0, _LARGEST_ATTENUATION, _ATTENUATION_STEPS)
    return torch.as_tensor(
        np.stack([stick_moments(float(x))[:_DEGREES] for x in grid]), dtype=torch.float32
    )


def _interpolate(table: Tensor, fraction: Tensor, length: float = 1.0) -> tuple[Tensor, Tensor]:
    """Rows of a table on a regular grid over (0, 1) times ``length``, and their slopes."""
    last = len(table) - 1
    position = fraction.clamp(0, 1) * last
    below = position.floor().clamp(max=last - 1).long()
    low, difference = table[below], table[below + 1] - table[below]
    return low + difference * (position - below)[..., None], difference * (last / length)
