"""Bounded Levenberg-Marquardt least squares of many voxels at once, with standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Model = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(voxels, parameters) to the signal, (voxels, samples), and its derivative,
(voxels, samples, parameters)."""

_FIRST_DAMPING = 1e-2
_LARGEST_DAMPING = 1e8
_SMALLEST_GAIN = 1e-9
_AT_BOUND = 1e-6
"""Part of the range within which a parameter lies at an end of it."""


@dataclass(frozen=True)
class LeastSquares:
    """Best parameters of every voxel.

    Attributes:
        parameters: (voxels, parameters).
        standard_error: (voxels, parameters), from the Jacobian and the residual variance, as
            if nothing were bounded; infinite where the signal does not depend on a parameter.
        at_bound: (voxels, parameters) whether a parameter lies at an end of its range.
        predicted: (voxels, samples) signal of the best parameters.
    """

    parameters: Tensor
    standard_error: Tensor
    at_bound: Tensor
    predicted: Tensor


def fit(
    model: Model,
    measured: Tensor,
    start: Tensor,
    lower: Tensor,
    upper: Tensor,
    iterations: int = 60,
) -> LeastSquares:
    """Minimise the sum of squared residuals of each voxel within bounds.

    Args:
        model: signal and its derivative.
        measured: (voxels, samples) float64.
        start: (voxels, parameters) float64.
        lower: (parameters,) or (voxels, parameters), least value of each parameter.
        upper: same shape, largest value.
        iterations: steps at most; a voxel stops when its residual no longer falls.

    Returns:
        The fit of every voxel.

    Raises:
        ValueError: not more samples than parameters.
    """
    if measured.shape[1] <= start.shape[1]:
        raise ValueError(
            f"{measured.shape[1]} samples cannot determine {start.shape[1]} parameters with errors"
        )
    lower, upper = lower.expand_as(start), upper.expand_as(start)
    span = upper - lower
    parameters = torch.minimum(torch.maximum(start, lower), upper).clone()
    damping = torch.full((len(start),), _FIRST_DAMPING, dtype=start.dtype)
    cost = torch.full((len(start),), torch.inf, dtype=start.dtype)
    active = torch.arange(len(start))
    for _ in range(iterations):
        if len(active) == 0:
            break
        here, low, high = parameters[active], lower[active], upper[active]
        signal, derivative = model(here)
        residual = signal - measured[active]
        cost[active] = before = residual.square().sum(dim=1)
        step = _step(here, residual, derivative, (low, high), damping[active])
        trial = torch.minimum(torch.maximum(here + step, low), high)
        after = (model(trial)[0] - measured[active]).square().sum(dim=1)
        better = after < before
        parameters[active] = torch.where(better[:, None], trial, here)
        damping[active] = torch.where(better, damping[active] / 5, damping[active] * 5)
        settled = better & (before - after <= _SMALLEST_GAIN * before)
        active = active[~settled & (damping[active] < _LARGEST_DAMPING) & (before > 0)]
    signal, derivative = model(parameters)
    variance = (signal - measured).square().sum(dim=1) / (measured.shape[1] - start.shape[1])
    return LeastSquares(
        parameters=parameters,
        standard_error=(_inverse_diagonal(derivative) * variance[:, None]).sqrt(),
        at_bound=(parameters <= lower + _AT_BOUND * span)
        | (parameters >= upper - _AT_BOUND * span),
        predicted=signal,
    )


def _step(
    parameters: Tensor,
    residual: Tensor,
    derivative: Tensor,
    bounds: tuple[Tensor, Tensor],
    damping: Tensor,
) -> Tensor:
    """Damped Gauss-Newton step; a value that its gradient pushes out of its range stays."""
    gradient = torch.einsum("vsp,vs->vp", derivative, residual)
    fixed = ((parameters <= bounds[0]) & (gradient > 0)) | (
        (parameters >= bounds[1]) & (gradient < 0)
    )
    free = (~fixed).to(parameters.dtype)
    normal = torch.einsum("vsp,vsq->vpq", derivative, derivative)
    normal = normal * free[:, :, None] * free[:, None, :]
    curvature = torch.diagonal(normal, dim1=1, dim2=2)
    # Of a parameter that changes nothing the step is 0, whatever stands on the diagonal.
    inert = (curvature <= 0).to(parameters.dtype)
    normal = normal + torch.diag_embed(curvature * damping[:, None] + inert)
    step: Tensor = torch.linalg.solve(normal, -(gradient * free))
    return step


def _inverse_diagonal(derivative: Tensor) -> Tensor:
    """(voxels, parameters) diagonal of the inverse normal matrix.

    Parameters that do not change the signal are taken out, so that those of a pool of no
    amplitude do not spoil the others.
    """
    normal = torch.einsum("vsp,vsq->vpq", derivative, derivative)
    length = torch.diagonal(normal, dim1=1, dim2=2).sqrt()
    inert = length <= 1e-12 * length.amax(dim=1, keepdim=True)
    scale = torch.where(inert, torch.ones_like(length), length)
    correlation = normal / scale[:, :, None] / scale[:, None, :]
    correlation = correlation + torch.diag_embed(inert.to(normal.dtype))
    inverse, failed = torch.linalg.inv_ex(correlation)
    diagonal = torch.diagonal(inverse, dim1=1, dim2=2) / scale.square()
    unknown = inert | (failed > 0)[:, None] | ~(diagonal > 0)
    return torch.where(unknown, torch.inf, diagonal)
