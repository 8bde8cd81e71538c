"""Bounded Levenberg-Marquardt least squares of many voxels at once, with standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Model = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Parameters (some, parameters) of the voxels with the numbers (some,) to their signal,
(some, samples), and its derivative, (some, samples, parameters)."""

Signal = Callable[[Tensor, Tensor], Tensor]
"""The signal alone, from the same arguments."""

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
        covariance: (voxels, parameters, parameters), from the Jacobian and the residual
            variance, as if nothing were bounded; infinite on the diagonal where the signal does
            not depend on a parameter.
        at_bound: (voxels, parameters) whether a parameter lies at an end of its range.
        predicted: (voxels, samples) signal of the best parameters.
    """

    parameters: Tensor
    covariance: Tensor
    at_bound: Tensor
    predicted: Tensor

    @property
    def standard_error(self) -> Tensor:
        """(voxels, parameters) square roots of the covariance's diagonal."""
        return torch.diagonal(self.covariance, dim1=1, dim2=2).sqrt()


def fit(
    model: Model,
    measured: Tensor,
    start: Tensor,
    lower: Tensor,
    upper: Tensor,
    iterations: int = 60,
    signal_alone: Signal | None = None,
) -> LeastSquares:
    """Minimise the sum of squared residuals of each voxel within bounds.

    Args:
        model: signal and its derivative.
        measured: (voxels, samples) float64.
        start: (voxels, parameters) float64.
        lower: (parameters,) or (voxels, parameters), least value of each parameter.
        upper: same shape, largest value.
        iterations: steps at most; a voxel stops when its residual no longer falls.
        signal_alone: the signal without its derivative, where that saves time.

    Returns:
        The fit of every voxel.

    Raises:
        ValueError: not more samples than parameters.
    """
    if measured.shape[1] <= start.shape[1]:
        raise ValueError(
            f"{measured.shape[1]} samples cannot determine {start.shape[1]} parameters with errors"
        )
    if signal_alone is None:

        def signal_alone(parameters: Tensor, voxels: Tensor) -> Tensor:
            return model(parameters, voxels)[0]

    lower, upper = lower.expand_as(start), upper.expand_as(start)
    span = upper - lower
    parameters = torch.minimum(torch.maximum(start, lower), upper).clone()
    damping = start.new_full((len(start),), _FIRST_DAMPING)
    every = active = torch.arange(len(start), device=start.device)
    for _ in range(iterations):
        if len(active) == 0:
            break
        here, low, high = parameters[active], lower[active], upper[active]
        signal, derivative = model(here, active)
        residual = signal - measured[active]
        before = residual.square().sum(dim=1)
        step = _step(here, residual, derivative, (low, high), damping[active])
        trial = torch.minimum(torch.maximum(here + step, low), high)
        after = (signal_alone(trial, active) - measured[active]).square().sum(dim=1)
        better = after < before
        parameters[active] = torch.where(better[:, None], trial, here)
        damping[active] = torch.where(better, damping[active] / 5, damping[active] * 5)
        settled = better & (before - after <= _SMALLEST_GAIN * before)
        active = active[~settled & (damping[active] < _LARGEST_DAMPING) & (before > 0)]
    signal, derivative = model(parameters, every)
    variance = (signal - measured).square().sum(dim=1) / (measured.shape[1] - start.shape[1])
    return LeastSquares(
        parameters=parameters,
        covariance=_inverse_normal(derivative) * variance[:, None, None],
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


def _inverse_normal(derivative: Tensor) -> Tensor:
    """(voxels, parameters, parameters) inverse of the normal matrix.

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
    inverse = inverse / scale[:, :, None] / scale[:, None, :]
    diagonal = torch.diagonal(inverse, dim1=1, dim2=2)
    unknown = inert | (failed > 0)[:, None] | ~(diagonal > 0)
    inverse = inverse.masked_fill(unknown[:, :, None] | unknown[:, None, :], 0.0)
    return inverse + torch.diag_embed(torch.zeros_like(diagonal).masked_fill(unknown, torch.inf))
