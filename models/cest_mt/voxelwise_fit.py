"""Least-squares fit of the simulator to each voxel: slow baseline and check of the networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from models.cest_mt.pools import PoolModel
from models.cest_mt.schedule import load_schedule
from models.cest_mt.signal import simulate
from models.cest_mt.specification import NetworkSpecification
from models.cest_mt.training_set import pools_of, sampled_before_excitation

_TILE = 2048
_START_LEVELS = (0.1, 0.4, 0.8)
_LARGEST_DAMPING = 1e8


@dataclass(frozen=True)
class Fit:
    """Result of a fit, in the units of the specification.

    Attributes:
        values: (voxels, estimated) best parameters and nuisances.
        covariance: (voxels, estimated, estimated) from the Jacobian and the residual variance;
            infinite where the signal does not depend on a parameter.
        residual: (voxels,) norm of what is left of the signal, in percent of its norm.
        at_bound: (voxels, estimated) whether the value lies at an end of its range.
    """

    values: Tensor
    covariance: Tensor
    residual: Tensor
    at_bound: Tensor


def fit_voxels(
    specification: NetworkSpecification,
    signal: Tensor,
    conditions: Tensor,
    start: Tensor | None = None,
    iterations: int = 25,
    progress: Callable[[float], None] = lambda share: None,
) -> Fit:
    """Fits parameters and nuisances within their ranges by damped Gauss-Newton steps.

    Signals are compared at norm 1, which leaves their scale free. Derivatives are exact
    (forward-mode differentiation of the simulator).

    Args:
        specification: what is fitted, within which ranges, and what is given.
        signal: (voxels, images) measured, any positive scale.
        conditions: (voxels, conditions) in physical units.
        start: (voxels, estimated) first guess in physical units; without one, the best of a
            coarse grid.
        iterations: Levenberg-Marquardt steps.
        progress: told the share that is done.

    Returns:
        The fit of every voxel, float64.
    """
    parts = []
    for rows in torch.arange(len(signal)).split(_TILE):
        problem = _Problem(specification, signal[rows].double(), conditions[rows].double())
        share = problem.coarse_start() if start is None else problem.share_of(start[rows].double())
        parts.append(_levenberg_marquardt(problem, share, iterations))
        progress(float(rows[-1] + 1) / len(signal))
    return Fit(*(torch.cat([getattr(part, name) for part in parts]) for name in Fit.__annotations__))


class _Problem:
    """The residuals of a tile of voxels as a function of shares of the ranges in [0, 1]."""

    def __init__(
        self, specification: NetworkSpecification, signal: Tensor, conditions: Tensor
    ) -> None:
        self._specification = specification
        self._schedule = sampled_before_excitation(load_schedule(specification.protocol))
        self._conditions = conditions
        self._given = {q.name: conditions[:, i] for i, q in enumerate(specification.conditions)}
        self.lower = torch.tensor([q.lower for q in specification.estimated], dtype=torch.float64)
        self.span = torch.tensor([q.span for q in specification.estimated], dtype=torch.float64)
        self.measured = torch.nn.functional.normalize(signal, dim=1)

    def share_of(self, values: Tensor) -> Tensor:
        return ((values - self.lower) / self.span).clamp(0, 1)

    def simulated(self, share: Tensor) -> Tensor:
        values = torch.cat([self.lower + self.span * share, self._conditions], dim=1)
        pools: PoolModel = pools_of(self._specification, values)
        signal = simulate(
            self._schedule,
            pools,
            b0_shift_ppm=self._given.get("b0_shift", 0.0),
            b1_scale=self._given.get("b1_scale", 1.0),
            dtype=torch.float64,
        )
        return torch.nn.functional.normalize(signal, dim=1)

    def residual(self, share: Tensor) -> Tensor:
        """(voxels, images)."""
        return self.simulated(share) - self.measured

    def residual_and_jacobian(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """(voxels, images) and (voxels, images, estimated)."""
        columns = []
        for column in range(share.shape[1]):
            tangent = torch.zeros_like(share)
            tangent[:, column] = 1
            with forward_ad.dual_level():
                dual = self.simulated(forward_ad.make_dual(share, tangent))
                simulated, derivative = forward_ad.unpack_dual(dual)
            columns.append(derivative)
        return simulated - self.measured, torch.stack(columns, dim=2)

    def coarse_start(self) -> Tensor:
        count = len(self.lower)
        best = torch.full((len(self.measured),), torch.inf, dtype=torch.float64)
        share = torch.full((len(self.measured), count), 0.5, dtype=torch.float64)
        for levels in itertools.product(_START_LEVELS, repeat=count):
            candidate = torch.tensor(levels, dtype=torch.float64).expand_as(share)
            cost = self.residual(candidate).square().sum(dim=1)
            better = cost < best
            best = torch.where(better, cost, best)
            share = torch.where(better[:, None], candidate, share)
        return share


def _levenberg_marquardt(problem: _Problem, share: Tensor, iterations: int) -> Fit:
    identity = torch.eye(share.shape[1], dtype=torch.float64)
    damping = torch.full((len(share),), 1e-2, dtype=torch.float64)
    residual, jacobian = problem.residual_and_jacobian(share)
    cost = residual.square().sum(dim=1)
    for _ in range(iterations):
        gradient = torch.einsum("vip,vi->vp", jacobian, residual)
        # A value at a bound that the gradient pushes outwards stays there in this step.
        fixed = ((share <= 0) & (gradient > 0)) | ((share >= 1) & (gradient < 0))
        free = (~fixed).double()
        normal = torch.einsum("vip,viq->vpq", jacobian, jacobian) * free[:, :, None]
        normal = normal * free[:, None, :]
        scale = torch.diagonal(normal, dim1=1, dim2=2) * damping[:, None] + 1e-12 + (1 - free)
        step = torch.linalg.solve(normal + identity * scale[:, None, :], -gradient * free)
        trial = (share + step).clamp(0, 1)
        trial_cost = problem.residual(trial).square().sum(dim=1)
        better = trial_cost < cost
        share = torch.where(better[:, None], trial, share)
        damping = torch.where(better, damping / 5, damping * 4).clamp(1e-9, _LARGEST_DAMPING)
        converged = (cost - trial_cost).abs() <= 1e-12 * cost
        cost = torch.where(better, trial_cost, cost)
        if bool((converged | (damping >= _LARGEST_DAMPING)).all()):
            break
        residual, jacobian = problem.residual_and_jacobian(share)
    residual, jacobian = problem.residual_and_jacobian(share)
    freedom = residual.shape[1] - share.shape[1] - 1
    variance = residual.square().sum(dim=1) / freedom
    normal = torch.einsum("vip,viq->vpq", jacobian, jacobian)
    inverse, failed = torch.linalg.inv_ex(normal)
    inverse = torch.where((failed > 0)[:, None, None], torch.inf, inverse)
    return Fit(
        values=problem.lower + problem.span * share,
        covariance=inverse * variance[:, None, None] * problem.span * problem.span[:, None],
        residual=100 * residual.square().sum(dim=1).sqrt(),
        at_bound=(share <= 0) | (share >= 1),
    )
